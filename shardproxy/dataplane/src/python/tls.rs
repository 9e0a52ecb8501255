//! Certificates, for who reads their files.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::net::tls::{check_pair, read_certificates, Certificate, Pair};

/// Common name, alternative names, and from when to when it is valid.
type Read = (Option<String>, Vec<String>, i64, i64);

#[pyfunction]
pub fn certificates_read(pem: &str) -> PyResult<Vec<Read>> {
    let read = |one: Certificate| (one.common_name, one.names, one.not_before, one.not_after);
    let found = read_certificates(pem).map_err(PyValueError::new_err)?;
    Ok(found.into_iter().map(read).collect())
}

#[pyfunction]
pub fn certificate_check(certificate: &str, key: &str) -> PyResult<()> {
    check_pair(Pair { certificate, key }).map_err(PyValueError::new_err)
}
