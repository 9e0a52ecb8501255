//! Where requests would go, without a cluster: the same table, the same search for keys and the same families as the
//! workers use.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::command::{key_positions, CommandTable, Span};
use crate::hash;
use crate::model::{Families, FamilySpec};

#[pyclass(frozen)]
pub struct Placer {
    table: CommandTable,
    families: Option<Families>,
}

#[pymethods]
impl Placer {
    #[new]
    fn new(table: &[u8], families: Vec<(String, String)>) -> PyResult<Self> {
        let table = CommandTable::from_json(table).map_err(PyValueError::new_err)?;
        let specs: Vec<FamilySpec> = families.into_iter().map(|(pattern, hash)| FamilySpec { pattern, hash }).collect();
        let families = Families::compile(&specs).map_err(PyValueError::new_err)?;
        Ok(Self { table, families })
    }

    /// The places of a request's keys among its arguments.
    #[allow(clippy::needless_pass_by_value)] // it comes from Python
    fn keys(&self, args: Vec<Vec<u8>>) -> PyResult<Vec<u32>> {
        let found = args.first().and_then(|name| self.table.find(name));
        let sub = found.and_then(|command| args.get(1).and_then(|word| command.subcommand(word)));
        let mut positions = Vec::new();
        let Some(command) = sub.or(found) else { return Ok(positions) };
        let (mut bytes, mut spans) = (Vec::new(), Vec::new());
        for arg in &args {
            let start = bytes.len() as u32;
            bytes.extend_from_slice(arg);
            spans.push(Span { start, end: bytes.len() as u32 });
        }
        key_positions(command, &spans, &bytes, &mut positions).map_err(|error| {
            let reply = error.reply(command);
            let text = String::from_utf8_lossy(&reply);
            PyValueError::new_err(text.trim_start_matches('-').trim_end().to_owned())
        })?;
        positions.retain(|&position| (position as usize) < args.len());
        Ok(positions)
    }

    fn slot(&self, key: &[u8]) -> u16 {
        match &self.families {
            Some(families) => families.slot(key),
            None => hash::slot(key),
        }
    }
}
