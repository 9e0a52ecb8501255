//! Just enough JSON to print one flat or nested object.

use std::fmt::Write;

#[derive(Debug, Default)]
pub struct Object {
    text: String,
}

impl Object {
    #[must_use]
    pub fn raw(mut self, name: &str, value: &str) -> Self {
        if !self.text.is_empty() {
            self.text.push_str(", ");
        }
        quote(&mut self.text, name);
        self.text.push_str(": ");
        self.text.push_str(value);
        self
    }

    #[must_use]
    pub fn integer(self, name: &str, value: u64) -> Self {
        self.raw(name, &value.to_string())
    }

    /// A number with three decimals.
    #[must_use]
    pub fn number(self, name: &str, value: f64) -> Self {
        self.raw(name, &format!("{value:.3}"))
    }

    #[must_use]
    pub fn string(self, name: &str, value: &str) -> Self {
        let mut quoted = String::new();
        quote(&mut quoted, value);
        self.raw(name, &quoted)
    }

    #[must_use]
    pub fn object(self, name: &str, value: Object) -> Self {
        self.raw(name, &value.finish())
    }

    pub fn finish(self) -> String {
        format!("{{{}}}", self.text)
    }
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::Object;

    #[test]
    fn objects_nest_and_strings_are_escaped() {
        let inner = Object::default().number("p50", 1.5);
        let text = Object::default().integer("n", 2).string("e", "a\"\r\n").object("us", inner).finish();
        assert_eq!(text, r#"{"n": 2, "e": "a\"\u000d\u000a", "us": {"p50": 1.500}}"#);
    }
}
