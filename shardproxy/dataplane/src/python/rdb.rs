//! RDB files read, written and restored, as Python orders it. All that takes long is done without the GIL.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pyo3::exceptions::{PyInterruptedError, PyOSError, PyValueError};
use pyo3::prelude::*;
use serde::{Deserialize, Serialize};

use super::copier::wrong;
use crate::model::{Families, FamilySpec};
use crate::replication::end::{End, EndSpec};
use crate::replication::load::{FileOrder, Load, LoadOrder, TargetOrder};
use crate::replication::rdb::{summarize_file, Owned, RdbError, SlotSet};
use crate::replication::snapshot::{self, Phase, SnapshotOrder};

/// By which rule keys have slots, and which of these count; no ranges = all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnedSpec {
    #[serde(default)]
    families: Vec<FamilySpec>,
    #[serde(default)]
    slots: Option<Vec<(u16, u16)>>,
}

impl OwnedSpec {
    fn build(self) -> Result<Owned, String> {
        let families = Families::compile(&self.families)?;
        Ok(Owned { families, slots: self.slots.map(|ranges| SlotSet::of(&ranges)).transpose()? })
    }
}

fn read<'s, T: Deserialize<'s>>(spec: &'s [u8]) -> PyResult<T> {
    serde_json::from_slice(spec).map_err(|error| wrong(&error))
}

fn told(status: &impl Serialize) -> PyResult<String> {
    serde_json::to_string(status).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// One reading of a file, in the thread that calls `run`.
#[pyclass(frozen, module = "shardproxy.dataplane._native")]
pub struct RdbReading {
    path: PathBuf,
    owned: Owned,
    keys: AtomicU64,
    is_stopped: AtomicBool,
}

#[pymethods]
impl RdbReading {
    #[new]
    fn new(path: PathBuf, owned: &[u8]) -> PyResult<Self> {
        let owned = read::<OwnedSpec>(owned)?.build().map_err(PyValueError::new_err)?;
        Ok(Self { path, owned, keys: AtomicU64::new(0), is_stopped: AtomicBool::new(false) })
    }

    fn run(&self, py: Python<'_>) -> PyResult<String> {
        let progress = |keys| {
            self.keys.store(keys, Ordering::Relaxed);
            if self.is_stopped.load(Ordering::Relaxed) {
                return Err(RdbError::Read(std::io::ErrorKind::ConnectionAborted.into()));
            }
            Ok(())
        };
        let summary = py.detach(|| summarize_file(&self.path, &self.owned, progress));
        match summary {
            Ok(summary) => told(&summary),
            Err(_) if self.is_stopped.load(Ordering::Relaxed) => {
                Err(PyInterruptedError::new_err("it was told to stop"))
            }
            Err(RdbError::Read(error)) => Err(PyOSError::new_err((error.raw_os_error(), error.to_string()))),
            Err(error) => Err(PyValueError::new_err(error.to_string())),
        }
    }

    #[getter]
    fn keys(&self) -> u64 {
        self.keys.load(Ordering::Relaxed)
    }

    fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }
}

#[pyclass(frozen, module = "shardproxy.dataplane._native")]
pub struct Snapshot(snapshot::Snapshot);

#[pymethods]
impl Snapshot {
    #[new]
    fn new(end: &[u8], path: PathBuf, owned: &[u8]) -> PyResult<Self> {
        let end = End::new(read::<EndSpec>(end)?).map_err(PyValueError::new_err)?;
        let owned = read::<OwnedSpec>(owned)?.build().map_err(PyValueError::new_err)?;
        Ok(Self(snapshot::Snapshot::start(SnapshotOrder { end, path, owned })?))
    }

    fn status(&self) -> PyResult<String> {
        told(&self.0.status())
    }

    fn wait(&self, py: Python<'_>, phase: &str, within: f64) -> PyResult<()> {
        let beyond = match phase {
            "connecting" => Phase::Connecting,
            "waiting" => Phase::Waiting,
            "forked" => Phase::Forked,
            "reading" => Phase::Reading,
            other => return Err(PyValueError::new_err(format!("nothing follows the phase {other:?}"))),
        };
        py.detach(|| self.0.wait_beyond(beyond, Duration::try_from_secs_f64(within).unwrap_or_default()));
        Ok(())
    }

    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.0.stop());
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSpec {
    path: PathBuf,
    slots: Option<Vec<(u16, u16)>>,
    start: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetSpec {
    slots: Vec<(u16, u16)>,
    end: EndSpec,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoadSpec {
    files: Vec<FileSpec>,
    targets: Vec<TargetSpec>,
    families: Vec<FamilySpec>,
    database: Option<u32>,
    pattern: Option<String>,
    replaces: bool,
    functions: bool,
    is_resumed: bool,
}

impl LoadSpec {
    fn build(self) -> Result<LoadOrder, String> {
        let file = |file: FileSpec| {
            let owned = file.slots.map(|ranges| SlotSet::of(&ranges)).transpose()?;
            Ok::<_, String>(FileOrder { path: file.path, owned, start: file.start })
        };
        let target =
            |target: TargetSpec| Ok::<_, String>(TargetOrder { slots: target.slots, end: End::new(target.end)? });
        let order = LoadOrder {
            files: self.files.into_iter().map(file).collect::<Result<_, _>>()?,
            targets: self.targets.into_iter().map(target).collect::<Result<_, _>>()?,
            families: Families::compile(&self.families)?,
            database: self.database,
            pattern: self.pattern.map(String::into_bytes),
            replaces: self.replaces,
            functions: self.functions,
            is_resumed: self.is_resumed,
        };
        order.check()?;
        Ok(order)
    }
}

#[pyclass(frozen, module = "shardproxy.dataplane._native")]
pub struct Loader(Load);

#[pymethods]
impl Loader {
    #[new]
    fn new(plan: &[u8]) -> PyResult<Self> {
        let order = read::<LoadSpec>(plan)?.build().map_err(PyValueError::new_err)?;
        Ok(Self(Load::start(order)?))
    }

    fn status(&self) -> PyResult<String> {
        told(&self.0.status())
    }

    fn wait(&self, py: Python<'_>, within: f64) {
        py.detach(|| self.0.wait(Duration::try_from_secs_f64(within).unwrap_or_default()));
    }

    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.0.stop());
    }
}
