//! The only room that knows Python: plain values in, typed events and plain values out.

mod acl;
mod copier;
mod events;
mod placer;
mod rdb;
mod timings;
mod tls;

use std::os::fd::{IntoRawFd, OwnedFd, RawFd};
use std::time::Duration;

use pyo3::exceptions::{PyKeyError, PyOSError, PyOverflowError, PyRuntimeError, PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};
use pyo3::IntoPyObjectExt;
use serde_json::Value;

use crate::dialect::resp::write;
use crate::glob::{self, TooCostly};
use crate::hash::tag_of_slot;
use crate::model::Cluster;
use crate::model::Kind;
use crate::net::copy_of;
use crate::plane::{ApplyError, Plane};

/// Clients or requests described before other Python threads get a turn: trio's is one of them.
const UNINTERRUPTED: usize = 256;

#[pyclass(frozen)]
struct DataPlane {
    plane: Plane,
}

#[pymethods]
impl DataPlane {
    #[new]
    fn new(workers: usize, table: &[u8], buffers: usize) -> PyResult<Self> {
        Plane::start(workers, table, buffers).map(|plane| Self { plane }).map_err(PyValueError::new_err)
    }

    fn apply(&self, py: Python<'_>, cluster: &[u8]) -> PyResult<Vec<(String, String)>> {
        let cluster = Cluster::parse(cluster).map_err(PyValueError::new_err)?;
        py.detach(|| self.plane.apply(cluster)).map_err(|error| match error {
            ApplyError::Invalid(text) => PyValueError::new_err(text),
            ApplyError::Listen(address, error) => {
                let number = error.raw_os_error().unwrap_or(0);
                PyOSError::new_err((number, format!("cannot listen on {address}: {error}"), address))
            }
            ApplyError::Late => PyTimeoutError::new_err("not every worker took the topology within 1 s; they will"),
        })
    }

    fn remove(&self, py: Python<'_>, cluster: &str) {
        py.detach(|| self.plane.remove(cluster));
    }

    #[pyo3(signature = (cluster, deadline))]
    fn lease(&self, cluster: &str, deadline: Option<f64>) {
        self.plane.lease(cluster, deadline);
    }

    fn learn(&self, py: Python<'_>, table: &[u8]) -> PyResult<()> {
        py.detach(|| self.plane.learn(table)).map_err(PyValueError::new_err)
    }

    fn slot(&self, cluster: &str, key: &[u8]) -> PyResult<u16> {
        self.plane.slot_of(cluster, key).ok_or_else(|| PyKeyError::new_err(cluster.to_owned()))
    }

    fn node(&self, cluster: &str, key: &[u8]) -> PyResult<Option<String>> {
        self.plane.node_of(cluster, key).ok_or_else(|| PyKeyError::new_err(cluster.to_owned()))
    }

    #[allow(clippy::needless_pass_by_value)] // what Python gives is owned
    fn are_in(&self, py: Python<'_>, cluster: &str, slots: Vec<(u16, u16)>, keys: Vec<Vec<u8>>) -> PyResult<Vec<bool>> {
        py.detach(|| self.plane.are_in(cluster, &slots, &keys)).ok_or_else(|| PyKeyError::new_err(cluster.to_owned()))
    }

    fn fileno(&self) -> i32 {
        self.plane.wakeup_fd()
    }

    fn take(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        self.plane.take().into_iter().map(|event| events::told(py, event)).collect()
    }

    fn answer(&self, token: u64, reply: &[u8]) {
        self.plane.answer(token, reply.to_vec());
    }

    fn retry(&self, token: u64) {
        self.plane.retry(token);
    }

    #[pyo3(signature = (token, absent=None))]
    fn pass_on(&self, token: u64, absent: Option<Vec<Vec<u8>>>) {
        self.plane.pass_on(token, absent);
    }

    fn fresh(&self, cluster: &str, key: &[u8], seconds: f64) {
        self.plane.fresh(cluster, key, Duration::try_from_secs_f64(seconds).unwrap_or_default());
    }

    #[staticmethod]
    fn tag(py: Python<'_>, slot: u16) -> Bound<'_, PyBytes> {
        PyBytes::new(py, tag_of_slot(slot))
    }

    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let found = py.detach(|| self.plane.statistics());
        plain(py, &found)
    }

    #[pyo3(signature = (cluster=None))]
    fn counts<'py>(&self, py: Python<'py>, cluster: Option<&str>) -> PyResult<Bound<'py, PyAny>> {
        plain(py, &self.plane.counts(cluster))
    }

    fn workers<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        self.plane.workers().iter().map(|worker| plain(py, worker)).collect()
    }

    fn access_untold(&self) -> u64 {
        self.plane.access_untold()
    }

    fn hot<'py>(&self, py: Python<'py>, cluster: &str) -> PyResult<Bound<'py, PyAny>> {
        let found = py.detach(|| self.plane.hot(cluster));
        plain(py, &found.ok_or_else(|| PyKeyError::new_err(cluster.to_owned()))?)
    }

    fn big<'py>(&self, py: Python<'py>, cluster: &str) -> PyResult<Bound<'py, PyAny>> {
        let found = py.detach(|| self.plane.big(cluster));
        plain(py, &found.ok_or_else(|| PyKeyError::new_err(cluster.to_owned()))?)
    }

    #[pyo3(signature = (client_ids=None))]
    fn clients<'py>(&self, py: Python<'py>, client_ids: Option<Vec<u64>>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let clients = py.detach(|| match client_ids {
            Some(ids) => self.plane.find_clients(ids),
            None => self.plane.clients(),
        });
        let mut result = Vec::with_capacity(clients.len());
        for (number, client) in clients.into_iter().enumerate() {
            if number % UNINTERRUPTED == UNINTERRUPTED - 1 {
                py.detach(std::thread::yield_now);
            }
            let entry = PyDict::new(py);
            entry.set_item("id", client.id)?;
            entry.set_item("worker", client.worker)?;
            entry.set_item("cluster", client.cluster)?;
            entry.set_item("endpoint", client.endpoint)?;
            entry.set_item("address", client.address)?;
            entry.set_item("local_address", client.local_address)?;
            entry.set_item("age", client.age)?;
            entry.set_item("idle", client.idle)?;
            entry.set_item("user", client.user)?;
            entry.set_item("resp", client.resp)?;
            entry.set_item("db", client.db)?;
            entry.set_item("pending", client.pending)?;
            entry.set_item("input", client.input)?;
            entry.set_item("output", client.output)?;
            entry.set_item("memory", client.held)?;
            entry.set_item("command", self.plane.command_name(client.last_command))?;
            entry.set_item("name", PyBytes::new(py, &client.details.name))?;
            entry.set_item("lib_name", PyBytes::new(py, &client.details.lib_name))?;
            entry.set_item("lib_version", PyBytes::new(py, &client.details.lib_version))?;
            entry.set_item("no_evict", client.details.no_evict)?;
            let [channels, patterns, shard_channels] = client.subscriptions;
            entry.set_item("channels", channels)?;
            entry.set_item("patterns", patterns)?;
            entry.set_item("shard_channels", shard_channels)?;
            entry.set_item("queued", client.queued)?;
            entry.set_item("is_watching", client.is_watching)?;
            entry.set_item("is_blocked", client.is_blocked)?;
            entry.set_item("is_monitor", client.is_monitor)?;
            entry.set_item("is_tracking", client.is_tracking)?;
            entry.set_item("is_broadcast", client.is_broadcast)?;
            entry.set_item("is_redirect_broken", client.is_redirect_broken)?;
            entry.set_item("redirect", client.redirect)?;
            result.push(entry);
        }
        Ok(result)
    }

    fn kill(&self, py: Python<'_>, client_ids: Vec<u64>) -> usize {
        py.detach(|| self.plane.kill(client_ids))
    }

    #[pyo3(signature = (cluster, kind, pattern=None))]
    fn topics(&self, py: Python<'_>, cluster: &str, kind: &str, pattern: Option<&[u8]>) -> PyResult<Py<PyBytes>> {
        let kind = kind_named(kind)?;
        let reply = py.detach(|| {
            let names = self.plane.topics(cluster, kind, pattern)?;
            let mut reply = Vec::new();
            write::array_header(&mut reply, names.len());
            for name in &names {
                write::bulk(&mut reply, name);
            }
            Ok(reply)
        });
        Ok(PyBytes::new(py, &reply.map_err(too_costly)?).unbind())
    }

    fn subscribers(&self, py: Python<'_>, cluster: &str, kind: &str, names: Vec<Vec<u8>>) -> PyResult<Vec<usize>> {
        let kind = kind_named(kind)?;
        Ok(py.detach(|| self.plane.subscribers(cluster, kind, names)))
    }

    fn topic_counts(&self, cluster: &str) -> (usize, usize, usize) {
        self.plane.topic_counts(cluster).into()
    }

    fn limit(&self, clients: usize, dedicated: usize) {
        self.plane.limit(clients, dedicated);
    }

    fn settle(&self, py: Python<'_>, cluster: &str, within: f64) -> bool {
        let within = std::time::Duration::try_from_secs_f64(within).unwrap_or_default();
        py.detach(|| self.plane.settle(cluster, within))
    }

    fn pause(&self, cluster: &str, seconds: f64, only_writes: bool, functions: Vec<(Vec<u8>, bool)>) {
        self.plane.pause(cluster, seconds, only_writes, functions);
    }

    fn script<'py>(&self, py: Python<'py>, cluster: &str, digest: &[u8]) -> Option<Bound<'py, PyBytes>> {
        self.plane.script(cluster, digest).map(|body| PyBytes::new(py, &body))
    }

    fn standing<'py>(&self, py: Python<'py>, cluster: &str, node: &str) -> PyResult<Bound<'py, PyDict>> {
        let standing = self.plane.standing(cluster, node);
        let found = PyDict::new(py);
        found.set_item("heard", standing.heard)?;
        if let Some(slow) = standing.slow {
            found.set_item("command", slow.command)?;
            found.set_item("age", slow.age)?;
            found.set_item("client_id", slow.client)?;
            found.set_item("address", slow.address)?;
            found.set_item("name", PyBytes::new(py, &slow.name))?;
        }
        Ok(found)
    }

    fn spare(&self, cluster: &str, node: &str, seconds: f64) {
        self.plane.spare(cluster, node, seconds);
    }

    fn expect_slow(&self, cluster: &str, commands: Vec<String>) {
        self.plane.expect_slow(cluster, commands);
    }

    fn slow_log<'py>(&self, py: Python<'py>, cluster: &str, most: usize) -> PyResult<Bound<'py, PyList>> {
        let found = py.detach(|| self.plane.slow_requests(cluster, most));
        timings::records(py, &found.ok_or_else(|| PyKeyError::new_err(cluster.to_owned()))?.0)
    }

    fn slow_log_len(&self, cluster: &str) -> PyResult<usize> {
        self.plane.slow_kept(cluster).ok_or_else(|| PyKeyError::new_err(cluster.to_owned()))
    }

    fn slow_log_reset(&self, cluster: &str) {
        self.plane.forget_slow_requests(cluster);
    }

    fn trace(&self, cluster: &str, pattern: &[u8], limit: usize) -> PyResult<timings::Tracing> {
        match self.plane.trace(cluster, pattern, limit) {
            None => Err(PyKeyError::new_err(cluster.to_owned())),
            Some(Ok(tracing)) => Ok(timings::Tracing(tracing)),
            Some(Err(why)) => Err(PyRuntimeError::new_err(why)),
        }
    }

    fn sample(&self, share: f64, queue: usize) {
        self.plane.sample(share, queue);
    }

    fn spans<'py>(&self, py: Python<'py>, most: usize) -> PyResult<(Bound<'py, PyList>, u64)> {
        let spans = self.plane.take_spans(most);
        let found = PyList::empty(py);
        for (cluster, record) in &spans.records {
            let entry = timings::described(py, record)?;
            entry.set_item("cluster", cluster)?;
            found.append(entry)?;
        }
        Ok((found, spans.dropped))
    }

    fn unblock(&self, py: Python<'_>, client_id: u64, with_error: bool) -> bool {
        py.detach(|| self.plane.unblock(client_id, with_error))
    }

    #[pyo3(signature = (grace=0.0))]
    fn drain(&self, grace: f64) {
        self.plane.drain(Duration::try_from_secs_f64(grace).unwrap_or_default());
    }

    /// The descriptors are copied: whoever passes one keeps its own.
    fn inherit(&self, address: String, socket: RawFd, is_kept: bool) -> PyResult<()> {
        self.plane.inherit(address, descriptor(socket)?, is_kept);
        Ok(())
    }

    fn sockets(&self) -> PyResult<Vec<(String, RawFd)>> {
        Ok(self.plane.sockets()?.into_iter().map(|(address, socket)| (address, socket.into_raw_fd())).collect())
    }

    fn pass_to(&self, socket: RawFd) -> PyResult<()> {
        Ok(self.plane.pass_to(descriptor(socket)?)?)
    }

    fn take_over(&self, socket: RawFd) -> PyResult<()> {
        Ok(self.plane.take_over(descriptor(socket)?)?)
    }

    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.plane.stop());
    }
}

/// Dicts, tuples and plain values. Tuples of numbers are no work for the collector of garbage, and need no copy to be kept.
fn plain<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    match value {
        Value::Null => Ok(py.None().into_bound(py)),
        Value::Bool(is_so) => is_so.into_bound_py_any(py),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(count), _) => count.into_bound_py_any(py),
            (None, Some(count)) => count.into_bound_py_any(py),
            (None, None) => number.as_f64().into_bound_py_any(py),
        },
        Value::String(text) => text.into_bound_py_any(py),
        Value::Array(values) => {
            let values = values.iter().map(|value| plain(py, value)).collect::<PyResult<Vec<_>>>()?;
            Ok(PyTuple::new(py, values)?.into_any())
        }
        Value::Object(fields) => {
            let found = PyDict::new(py);
            for (name, value) in fields {
                found.set_item(name, plain(py, value)?)?;
            }
            Ok(found.into_any())
        }
    }
}

fn descriptor(number: RawFd) -> PyResult<OwnedFd> {
    copy_of(number).map_err(PyErr::from)
}

fn kind_named(name: &str) -> PyResult<Kind> {
    let kinds = [Kind::Channel, Kind::Pattern, Kind::Shard];
    let found = kinds.into_iter().find(|kind| kind.name() == name);
    found.ok_or_else(|| PyValueError::new_err(format!("no kind of subscription: {name}")))
}

fn too_costly(_: TooCostly) -> PyErr {
    PyOverflowError::new_err("the pattern would take too long to match")
}

#[pyfunction]
fn glob_filter(py: Python<'_>, pattern: &[u8], words: Vec<Vec<u8>>, ignores_case: bool) -> PyResult<Vec<Py<PyBytes>>> {
    let is_match = if ignores_case { glob::matches_any_case } else { glob::matches };
    let found = py.detach(|| {
        glob::check_cost(pattern, words.iter().map(Vec::as_slice))?;
        Ok(words.into_iter().filter(|word| is_match(pattern, word)).collect::<Vec<_>>())
    });
    Ok(found.map_err(too_costly)?.iter().map(|word| PyBytes::new(py, word).unbind()).collect())
}

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("VERSION", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(glob_filter, module)?)?;
    module.add_function(wrap_pyfunction!(tls::certificates_read, module)?)?;
    module.add_function(wrap_pyfunction!(tls::certificate_check, module)?)?;
    module.add_class::<events::Offloaded>()?;
    module.add_class::<events::Abandoned>()?;
    module.add_class::<events::NodeLost>()?;
    module.add_class::<events::NodeDown>()?;
    module.add_class::<events::AccessEvent>()?;
    module.add_class::<events::ClientDid>()?;
    module.add_class::<events::CacheAged>()?;
    module.add_class::<events::OutOfFiles>()?;
    module.add_class::<placer::Placer>()?;
    module.add_class::<acl::Acl>()?;
    module.add_class::<rdb::RdbReading>()?;
    module.add_class::<rdb::Snapshot>()?;
    module.add_class::<copier::Copier>()?;
    module.add_class::<timings::Tracing>()?;
    module.add_class::<rdb::Loader>()?;
    module.add_class::<DataPlane>()
}
