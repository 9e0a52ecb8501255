//! Access rules, for those who keep them: checked, changed, described and tried out as the workers understand them.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::access::{Denied, Fault, Form, Rules, Selector, User, Vocabulary, Wrong};
use crate::command::{CommandTable, Span};
use crate::dialect::resp::Request;

#[pyclass(frozen)]
pub struct Acl {
    table: CommandTable,
}

#[pymethods]
impl Acl {
    #[new]
    fn new(table: &[u8]) -> PyResult<Self> {
        Ok(Self { table: CommandTable::from_json(table).map_err(PyValueError::new_err)? })
    }

    #[pyo3(signature = (rules, keep_unknown=false))]
    fn check(&self, rules: &str, keep_unknown: bool) -> Option<String> {
        let known = self.vocabulary(keep_unknown);
        Rules::new(known).apply_line(rules, known).err().map(|fault| fault.to_string())
    }

    fn unknown(&self, rules: &str) -> PyResult<Vec<String>> {
        let known = self.vocabulary(false);
        Ok(self.rules(rules)?.unknown(known).map(|name| text(&name)).collect())
    }

    #[pyo3(signature = (rules, modifiers, keep_unknown=false))]
    #[allow(clippy::needless_pass_by_value)] // it comes from Python
    fn apply(&self, rules: &str, modifiers: Vec<Vec<u8>>, keep_unknown: bool) -> PyResult<String> {
        let known = self.vocabulary(keep_unknown);
        let mut changed = self.rules(rules)?;
        let words = modifiers.iter().map(Vec::as_slice);
        changed.apply_words(words, known).map_err(|fault| PyValueError::new_err(fault.in_full()))?;
        String::from_utf8(changed.line(Form::Ordered, known)).map_err(|_| {
            let odd = modifiers.iter().find(|modifier| std::str::from_utf8(modifier).is_err());
            PyValueError::new_err(Fault::Modifier(odd.cloned().unwrap_or_default(), Wrong::Syntax).to_string())
        })
    }

    #[pyo3(signature = (rules, ordered=true))]
    fn describe<'py>(&self, py: Python<'py>, rules: &str, ordered: bool) -> PyResult<Bound<'py, PyDict>> {
        let known = self.vocabulary(true);
        let form = if ordered { Form::Ordered } else { Form::Fewest };
        let rules = self.rules(rules)?;
        let described = describe(py, &rules.selectors[0], form, known)?;
        let others = rules.selectors[1..].iter().map(|selector| describe(py, selector, form, known));
        described.set_item("selectors", others.collect::<PyResult<Vec<_>>>()?)?;
        described.set_item("flags", rules.flags().collect::<Vec<_>>())?;
        described.set_item("passwords", rules.passwords.iter().map(|hash| hash.digits()).collect::<Vec<_>>())?;
        described.set_item("enabled", rules.is_enabled)?;
        described.set_item("nopass", rules.is_nopass)?;
        described.set_item("line", text(&rules.line(form, known)))?;
        described.set_item("rules", text(&rules.selectors_line(form, known)))?;
        Ok(described)
    }

    #[allow(clippy::needless_pass_by_value)] // it comes from Python
    fn dryrun(&self, py: Python<'_>, rules: &str, args: Vec<Vec<u8>>) -> PyResult<Option<(&'static str, Py<PyBytes>)>> {
        let user = User::with_rules(self.rules(rules)?);
        let unknown =
            || PyValueError::new_err(format!("Command '{}' not found", text(args.first().map_or(b"", |name| name))));
        let found = args.first().and_then(|name| self.table.find(name));
        let command = match found {
            Some(command) if args.len() > 1 && !command.subcommands.is_empty() => command.subcommand(&args[1]),
            found => found,
        };
        let command = command.ok_or_else(unknown)?;
        if !command.accepts(args.len()) {
            let why = format!("wrong number of arguments for '{}' command", command.name);
            return Err(PyValueError::new_err(why));
        }
        let (mut bytes, mut spans) = (Vec::new(), Vec::new());
        for arg in &args {
            let start = bytes.len() as u32;
            bytes.extend_from_slice(arg);
            spans.push(Span { start, end: bytes.len() as u32 });
        }
        let denied = user.check(command, &Request { bytes: &bytes, spans: &spans }).err();
        let object = |at: u32| PyBytes::new(py, &args[at as usize]).unbind();
        Ok(denied.and_then(|denied| match denied {
            Denied::Command => Some(("command", PyBytes::new(py, command.name.as_bytes()).unbind())),
            Denied::Key(at) => Some(("key", object(at))),
            Denied::Channel(at) => Some(("channel", object(at))),
            Denied::Lookup(_) => None,
        }))
    }

    fn categories(&self) -> Vec<&str> {
        self.table.categories().iter().map(|(name, _)| name).collect()
    }

    fn commands(&self, category: &str) -> Option<Vec<&str>> {
        let category = self.table.categories().find(category.as_bytes())?;
        let commands =
            self.vocabulary(false).commands().flat_map(|command| [command].into_iter().chain(&command.subcommands));
        Some(commands.filter(|command| command.categories.intersect(category)).map(|command| &*command.name).collect())
    }
}

impl Acl {
    const fn vocabulary(&self, keeps_unknown: bool) -> Vocabulary<'_> {
        if keeps_unknown {
            Vocabulary::keeping_unknown(&self.table)
        } else {
            Vocabulary::new(&self.table)
        }
    }

    fn rules(&self, line: &str) -> PyResult<Rules> {
        let known = self.vocabulary(true);
        let mut rules = Rules::new(known);
        rules.apply_line(line, known).map_err(|fault| PyValueError::new_err(fault.to_string()))?;
        Ok(rules)
    }
}

fn describe<'py>(py: Python<'py>, selector: &Selector, form: Form, known: Vocabulary) -> PyResult<Bound<'py, PyDict>> {
    let described = PyDict::new(py);
    described.set_item("commands", text(&selector.commands_text(form, known)))?;
    described.set_item("keys", text(&selector.keys_text()))?;
    described.set_item("channels", text(&selector.channels_text()))?;
    Ok(described)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
