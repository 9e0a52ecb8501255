"""ConfigMaps of a Kubernetes namespace as a store that many proxies share.

api.py, credentials.py, errors.py   the API server over HTTP
watch.py, mirror.py                 what is there, as it changes
names.py, objects.py, writer.py     one object, by compare-and-set
shards.py, notebook.py, pulse.py    what objects hold
boards.py, keep.py                  what of it is shown, and kept on this machine
life.py, expiry.py                  who is alive
leading.py                          who leads, and its records
following.py, dating.py             until when it is sure
store.py                            all together
"""

from shardproxy.store.kubernetes.store import KubernetesStore as KubernetesStore
