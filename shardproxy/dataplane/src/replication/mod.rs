//! Data on its way between engines and files: threads of their own beside the workers, ordered about by Python.

pub mod rdb;
