//! Copies of engines' data, for who orders them.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::command::CommandTable;
use crate::replication::board::Board;
use crate::replication::copier::Copier as Copying;
use crate::replication::end::{End, EndSpec};
use crate::replication::fault::{Fault, Kind};
use crate::replication::history::Place;
use crate::replication::node::{in_time, Stop};
use crate::replication::plan::{Plan, PlanSpec};
use crate::sync::lock;

#[pyclass(frozen)]
pub struct Copier {
    board: Arc<Board>,
    thread: std::sync::Mutex<Option<JoinHandle<()>>>,
}

/// JSON that cannot be read is told without its text: it holds passwords.
pub fn wrong(error: &serde_json::Error) -> PyErr {
    PyValueError::new_err(format!("line {} column {}: {:?}", error.line(), error.column(), error.classify()))
}

/// Nanoseconds; never what stands for no end at all.
fn nanos(seconds: f64) -> u64 {
    ((seconds.max(0.0) * 1e9) as u64).min(u64::MAX - 1)
}

fn refused(fault: Fault) -> PyErr {
    PyRuntimeError::new_err((fault.kind.name(), fault.why))
}

#[pymethods]
impl Copier {
    #[new]
    #[pyo3(signature = (plan, table=None, until=None))]
    fn new(plan: &[u8], table: Option<&[u8]>, until: Option<f64>) -> PyResult<Self> {
        let spec: PlanSpec = serde_json::from_slice(plan).map_err(|error| wrong(&error))?;
        let plan = Plan::new(spec).map_err(PyValueError::new_err)?;
        let table = table.map_or_else(CommandTable::builtin, CommandTable::from_json).map_err(PyValueError::new_err)?;
        let board = Arc::new(Board::new(Stop::new()?, until.map(nanos)));
        let copier = Copying::new(plan, Arc::new(table), board.clone());
        let thread = thread::Builder::new().name("shardproxy-copy".into()).spawn(move || copier.run())?;
        Ok(Self { board, thread: std::sync::Mutex::new(Some(thread)) })
    }

    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let status = self.board.status();
        let told = PyDict::new(py);
        told.set_item("phase", status.phase.name())?;
        told.set_item("why", status.why)?;
        told.set_item("kind", status.kind.map(Kind::name))?;
        told.set_item("keys", status.keys)?;
        told.set_item("bytes", status.bytes)?;
        told.set_item("scanned", status.scanned)?;
        told.set_item("total", status.total)?;
        told.set_item("dirty", status.dirty)?;
        told.set_item("unanswered", status.unanswered)?;
        told.set_item("offset", status.offset)?;
        told.set_item("replid", status.replid)?;
        told.set_item("passes", status.passes)?;
        told.set_item("resumed", status.resumed)?;
        told.set_item("shipped", status.shipped)?;
        told.set_item("checked", status.checked)?;
        told.set_item("compared", status.compared)?;
        told.set_item("source", status.source)?;
        told.set_item("source_is_primary", status.source_is_primary)?;
        told.set_item("unguarded", status.unguarded)?;
        told.set_item("seconds", status.seconds)?;
        Ok(told)
    }

    #[pyo3(signature = (offset, replid, within, replicas=0, rests=false))]
    fn reach(
        &self,
        py: Python<'_>,
        offset: i64,
        replid: &str,
        within: f64,
        replicas: u32,
        rests: bool,
    ) -> PyResult<u64> {
        let within = Duration::try_from_secs_f64(within).unwrap_or_default();
        let place = Place { replid: replid.into(), offset };
        let reach = || {
            let until = in_time(within);
            let reached = self.board.reach(place, replicas, within)?;
            if rests {
                self.board.rest(until.saturating_duration_since(Instant::now()))?;
            }
            Ok(reached)
        };
        py.detach(reach).map_err(refused)
    }

    fn verify(&self, py: Python<'_>, within: f64) -> PyResult<u64> {
        let within = Duration::try_from_secs_f64(within).unwrap_or_default();
        py.detach(|| self.board.verify(within)).map_err(refused)
    }

    fn compare(&self, py: Python<'_>, within: f64) -> PyResult<u64> {
        let within = Duration::try_from_secs_f64(within).unwrap_or_default();
        py.detach(|| self.board.compare(within)).map_err(refused)
    }

    fn sources(&self, sources: &[u8]) -> PyResult<()> {
        let specs: Vec<EndSpec> = serde_json::from_slice(sources).map_err(|error| wrong(&error))?;
        let sources = specs.into_iter().map(End::new).collect::<Result<_, _>>().map_err(PyValueError::new_err)?;
        self.board.set_sources(sources);
        Ok(())
    }

    /// Nothing is written to a target from then on, in seconds of the boot clock.
    fn keep(&self, until: f64) {
        self.board.keep(nanos(until));
    }

    fn rest(&self, py: Python<'_>, within: f64) -> PyResult<u64> {
        let within = Duration::try_from_secs_f64(within).unwrap_or_default();
        py.detach(|| self.board.rest(within)).map_err(refused)
    }

    fn go_on(&self) {
        self.board.go_on();
    }

    /// End the thread and wait for that, however many do so at once.
    fn stop(&self, py: Python<'_>) {
        self.board.stop().stop();
        py.detach(|| {
            let mut thread = lock(&self.thread);
            if let Some(thread) = thread.take() {
                let _ = thread.join(); // a panic was printed, and there is nothing left of it
            }
        });
    }
}

impl Drop for Copier {
    fn drop(&mut self) {
        self.board.stop().stop();
    }
}
