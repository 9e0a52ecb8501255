//! What the data plane tells: a frozen class for each kind of event, with plain values.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::plane::Event;

/// A command that Python answers.
#[pyclass(frozen, get_all, module = "shardproxy.dataplane._native")]
pub struct Offloaded {
    token: u64,
    cluster: String,
    endpoint: String,
    client_id: u64,
    user: String,
    resp: u8,
    db: u32,
    local_address: String,
    known: bool,
    args: Py<PyTuple>,
    rule: Option<u16>,
    looks: u8,
}

#[pymethods]
impl Offloaded {
    #[new]
    #[pyo3(signature = (token, cluster, endpoint, client_id, user, resp, db, local_address, known, args, rule=None, looks=0))]
    #[allow(clippy::too_many_arguments)] // they are its fields
    const fn new(
        token: u64,
        cluster: String,
        endpoint: String,
        client_id: u64,
        user: String,
        resp: u8,
        db: u32,
        local_address: String,
        known: bool,
        args: Py<PyTuple>,
        rule: Option<u16>,
        looks: u8,
    ) -> Self {
        Self { token, cluster, endpoint, client_id, user, resp, db, local_address, known, args, rule, looks }
    }

    /// Without the arguments: one may be a password.
    fn __repr__(&self, py: Python<'_>) -> String {
        let args = self.args.bind(py);
        let name = args.get_item(0).map_or_else(|_| String::new(), |name| name.to_string());
        format!("Offloaded(token={}, cluster={:?}, {name}, {} arguments)", self.token, self.cluster, args.len())
    }
}

/// The client of an offloaded command has gone.
#[pyclass(frozen, get_all, eq, module = "shardproxy.dataplane._native")]
#[derive(PartialEq)]
pub struct Abandoned {
    token: u64,
}

#[pymethods]
impl Abandoned {
    #[new]
    const fn new(token: u64) -> Self {
        Self { token }
    }

    fn __repr__(&self) -> String {
        format!("Abandoned(token={})", self.token)
    }
}

/// What a worker found of a node.
#[pyclass(frozen, get_all, eq, module = "shardproxy.dataplane._native")]
#[derive(PartialEq)]
pub struct NodeLost {
    cluster: String,
    address: String,
    kind: String,
    why: String,
}

#[pymethods]
impl NodeLost {
    #[new]
    const fn new(cluster: String, address: String, kind: String, why: String) -> Self {
        Self { cluster, address, kind, why }
    }

    fn __repr__(&self) -> String {
        let Self { cluster, address, kind, why } = self;
        format!("NodeLost(cluster={cluster:?}, address={address:?}, kind={kind:?}, why={why:?})")
    }
}

/// A memcached node is down, or up again.
#[pyclass(frozen, get_all, eq, module = "shardproxy.dataplane._native")]
#[derive(PartialEq)]
pub struct NodeDown {
    cluster: String,
    address: String,
    why: Option<String>,
}

#[pymethods]
impl NodeDown {
    #[new]
    #[pyo3(signature = (cluster, address, why))]
    const fn new(cluster: String, address: String, why: Option<String>) -> Self {
        Self { cluster, address, why }
    }

    fn __repr__(&self) -> String {
        let Self { cluster, address, why } = self;
        format!("NodeDown(cluster={cluster:?}, address={address:?}, why={why:?})")
    }
}

/// What a client did that nobody waits to hear about.
#[pyclass(frozen, get_all, eq, module = "shardproxy.dataplane._native")]
#[derive(PartialEq)]
pub struct ClientDid {
    cluster: String,
    address: String,
    what: String,
}

#[pymethods]
impl ClientDid {
    #[new]
    const fn new(cluster: String, address: String, what: String) -> Self {
        Self { cluster, address, what }
    }

    fn __repr__(&self) -> String {
        let Self { cluster, address, what } = self;
        format!("ClientDid(cluster={cluster:?}, address={address:?}, what={what:?})")
    }
}

/// A key was read whose age nobody knows, or whose time has come.
#[pyclass(frozen, get_all, eq, module = "shardproxy.dataplane._native")]
#[derive(PartialEq)]
pub struct CacheAged {
    cluster: String,
    rule: u16,
    key: Vec<u8>,
}

#[pymethods]
impl CacheAged {
    #[new]
    const fn new(cluster: String, rule: u16, key: Vec<u8>) -> Self {
        Self { cluster, rule, key }
    }

    /// Without the key: it may name a person.
    fn __repr__(&self) -> String {
        format!("CacheAged(cluster={:?}, rule={})", self.cluster, self.rule)
    }
}

/// Who came in or was kept out, and why.
#[pyclass(frozen, get_all, eq, module = "shardproxy.dataplane._native")]
#[derive(PartialEq)]
pub struct AccessEvent {
    cluster: String,
    endpoint: String,
    kind: String,
    client_id: u64,
    address: String,
    user: String,
    why: String,
    object: Vec<u8>,
    context: String,
}

#[pymethods]
impl AccessEvent {
    #[new]
    #[allow(clippy::too_many_arguments)] // they are its fields
    const fn new(
        cluster: String,
        endpoint: String,
        kind: String,
        client_id: u64,
        address: String,
        user: String,
        why: String,
        object: Vec<u8>,
        context: String,
    ) -> Self {
        Self { cluster, endpoint, kind, client_id, address, user, why, object, context }
    }

    fn __repr__(&self) -> String {
        let Self { cluster, kind, address, user, why, .. } = self;
        format!("AccessEvent(cluster={cluster:?}, kind={kind:?}, address={address:?}, user={user:?}, why={why:?})")
    }
}

/// Something could not be opened for want of a file descriptor.
#[pyclass(frozen, get_all, eq, module = "shardproxy.dataplane._native")]
#[derive(PartialEq)]
pub struct OutOfFiles {
    what: String,
}

#[pymethods]
impl OutOfFiles {
    #[new]
    const fn new(what: String) -> Self {
        Self { what }
    }

    fn __repr__(&self) -> String {
        format!("OutOfFiles(what={:?})", self.what)
    }
}

/// The event as an object of its class.
pub fn told(py: Python<'_>, event: Event) -> PyResult<Py<PyAny>> {
    Ok(match event {
        Event::Offloaded(offload) => {
            let args = PyTuple::new(py, offload.arguments.iter().map(|argument| PyBytes::new(py, argument)))?;
            let offloaded = Offloaded {
                token: offload.token,
                cluster: offload.cluster,
                endpoint: offload.endpoint.to_owned(),
                client_id: offload.client_id,
                user: offload.user,
                resp: offload.resp,
                db: offload.db,
                local_address: offload.local_address,
                known: offload.is_known,
                args: args.unbind(),
                rule: offload.rule,
                looks: offload.looks,
            };
            Py::new(py, offloaded)?.into_any()
        }
        Event::Abandoned(token) => Py::new(py, Abandoned { token })?.into_any(),
        Event::NodeLost(lost) => {
            let kind = lost.kind.name().to_owned();
            Py::new(py, NodeLost { cluster: lost.cluster, address: lost.address, kind, why: lost.why })?.into_any()
        }
        Event::NodeDown(down) => {
            Py::new(py, NodeDown { cluster: down.cluster, address: down.address, why: down.why })?.into_any()
        }
        Event::Access(event) => {
            let event = AccessEvent {
                cluster: event.cluster,
                endpoint: event.endpoint.to_owned(),
                kind: event.kind.name().to_owned(),
                client_id: event.client_id,
                address: event.address,
                user: event.user,
                why: event.why,
                object: event.object,
                context: if event.is_in_multi { "multi" } else { "toplevel" }.to_owned(),
            };
            Py::new(py, event)?.into_any()
        }
        Event::CacheAged(aged) => {
            Py::new(py, CacheAged { cluster: aged.cluster, rule: aged.rule, key: aged.key })?.into_any()
        }
        Event::OutOfFiles(what) => Py::new(py, OutOfFiles { what })?.into_any(),
        Event::ClientDid(did) => {
            Py::new(py, ClientDid { cluster: did.cluster, address: did.address, what: did.what.to_owned() })?.into_any()
        }
    })
}
