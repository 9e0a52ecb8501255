//! Requests as the control plane is told of them.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use super::UNINTERRUPTED;
use crate::plane;
use crate::timing::Record;

/// Requests of a cluster that are traced as long as this is there.
#[pyclass(frozen, module = "shardproxy.dataplane._native")]
pub struct Tracing(pub plane::Tracing);

#[pymethods]
impl Tracing {
    fn stop(&self) {
        self.0.stop();
    }

    fn take<'py>(&self, py: Python<'py>, most: usize) -> PyResult<Bound<'py, PyDict>> {
        let traced = self.0.take(most);
        let found = PyDict::new(py);
        found.set_item("records", records(py, &traced.records)?)?;
        found.set_item("seen", traced.seen)?;
        found.set_item("dropped", traced.dropped)?;
        found.set_item("is_over", traced.is_over)?;
        Ok(found)
    }
}

pub fn records<'py>(py: Python<'py>, all: &[Arc<Record>]) -> PyResult<Bound<'py, PyList>> {
    let found = PyList::empty(py);
    for (number, record) in all.iter().enumerate() {
        if number % UNINTERRUPTED == UNINTERRUPTED - 1 {
            py.detach(std::thread::yield_now);
        }
        found.append(described(py, record)?)?;
    }
    Ok(found)
}

pub fn described<'py>(py: Python<'py>, record: &Record) -> PyResult<Bound<'py, PyDict>> {
    let phases = PyDict::new(py);
    phases.set_item("waited", record.phases.waited)?;
    phases.set_item("parked", record.phases.parked)?;
    phases.set_item("upstream", record.phases.upstream)?;
    phases.set_item("client", record.phases.client)?;
    let entry = PyDict::new(py);
    entry.set_item("id", record.id)?;
    entry.set_item("at", record.at)?;
    entry.set_item("microseconds", record.micros)?;
    entry.set_item("phases", phases)?;
    entry.set_item("command", &record.command)?;
    let arguments = record.arguments.iter().map(|argument| PyBytes::new(py, argument));
    entry.set_item("arguments", PyList::new(py, arguments)?)?;
    entry.set_item("key", record.key.as_deref().map(|key| PyBytes::new(py, key)))?;
    entry.set_item("client_id", record.client_id)?;
    entry.set_item("client", &record.client)?;
    entry.set_item("name", PyBytes::new(py, &record.name))?;
    entry.set_item("user", &record.user)?;
    entry.set_item("db", record.db)?;
    entry.set_item("slot", record.slot)?;
    entry.set_item("shard", record.shard)?;
    entry.set_item("node", &record.node)?;
    entry.set_item("request_bytes", record.request_bytes)?;
    entry.set_item("reply_bytes", record.reply_bytes)?;
    entry.set_item("outcome", record.outcome)?;
    entry.set_item("error", &record.error)?;
    Ok(entry)
}
