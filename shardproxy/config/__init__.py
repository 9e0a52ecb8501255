"""What users write: frozen models of the config file, loading it, and errors with line and hint.

config = load_config("cluster.yaml")        # ConfigError holds every Problem
for topology in config.topologies(): ...    # model values, epoch 0
"""

from shardproxy.config.admin import AdminAccess, Audit, Loopback, Rights
from shardproxy.config.backups import Backups
from shardproxy.config.clusters import Cluster, MemcachedCluster, ReadFrom, RedisCluster
from shardproxy.config.commands import Commands
from shardproxy.config.endpoints import ConfigurationEndpoint, Endpoint, Mode
from shardproxy.config.errors import ConfigError, Problem
from shardproxy.config.failure import FailureAction, OnFailure
from shardproxy.config.hashing import Hashing, HashMethod, KeyHash
from shardproxy.config.iam import Iam, NodeIam, NodeIdentity, Verifier
from shardproxy.config.inbound import Admitted, ProxyProtocol, SecurityGroup
from shardproxy.config.jobs import Jobs
from shardproxy.config.loading import load_config, parse_config
from shardproxy.config.node_auth import NodeAuth, PasswordAuth
from shardproxy.config.replication import Failover, Fencing, Replication, Writes
from shardproxy.config.root import Config, Log, LogFormat, LogLevel
from shardproxy.config.schema import schema, schema_text
from shardproxy.config.secrets import Credentials, Secret, SecretError

__all__ = [
    "AdminAccess",
    "Admitted",
    "Audit",
    "Backups",
    "Cluster",
    "Commands",
    "Config",
    "ConfigError",
    "ConfigurationEndpoint",
    "Credentials",
    "Endpoint",
    "Failover",
    "FailureAction",
    "Fencing",
    "HashMethod",
    "Hashing",
    "Iam",
    "Jobs",
    "KeyHash",
    "Log",
    "LogFormat",
    "LogLevel",
    "Loopback",
    "MemcachedCluster",
    "Mode",
    "NodeAuth",
    "NodeIam",
    "NodeIdentity",
    "OnFailure",
    "PasswordAuth",
    "Problem",
    "ProxyProtocol",
    "ReadFrom",
    "RedisCluster",
    "Replication",
    "Rights",
    "Secret",
    "SecretError",
    "SecurityGroup",
    "Verifier",
    "Writes",
    "load_config",
    "parse_config",
    "schema",
    "schema_text",
]
