//! `--name value` and `--switch` on the command line.

use std::str::FromStr;

#[derive(Debug, Default)]
pub struct Args {
    values: Vec<(String, String)>,
}

impl Args {
    /// Parse `--name value` pairs; a name in `switches` takes no value. An unknown name is an error.
    pub fn parse(words: impl IntoIterator<Item = String>, names: &[&str], switches: &[&str]) -> Result<Self, String> {
        let mut values = Vec::new();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").ok_or_else(|| format!("unexpected '{word}'"))?;
            if switches.contains(&name) {
                values.push((name.to_owned(), "true".to_owned()));
            } else if names.contains(&name) {
                let value = words.next().ok_or_else(|| format!("--{name} needs a value"))?;
                values.push((name.to_owned(), value));
            } else {
                let known: Vec<String> = names.iter().chain(switches).map(|n| format!("--{n}")).collect();
                return Err(format!("unknown option --{name}; known: {}", known.join(" ")));
            }
        }
        Ok(Self { values })
    }

    /// The last value given for a name, parsed.
    pub fn get<T: FromStr>(&self, name: &str) -> Result<Option<T>, String>
    where
        T::Err: std::fmt::Display,
    {
        let Some(text) = self.all(name).last() else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|e| format!("--{name} {text}: {e}"))
    }

    pub fn get_or<T: FromStr>(&self, name: &str, default: T) -> Result<T, String>
    where
        T::Err: std::fmt::Display,
    {
        Ok(self.get(name)?.unwrap_or(default))
    }

    pub fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// Every value given for a name that may be repeated.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.values.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Args;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn values_switches_and_repeats_are_read() {
        let args = Args::parse(words("--a 1 --on --a 2"), &["a"], &["on"]).unwrap();
        assert_eq!(args.get::<u32>("a"), Ok(Some(2)));
        assert_eq!(args.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert!(args.has("on"));
    }

    #[test]
    fn mistakes_are_named() {
        for (line, said) in [("--b 1", "unknown option --b"), ("--a", "--a needs a value"), ("x", "unexpected 'x'")] {
            let error = Args::parse(words(line), &["a"], &[]).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        assert!(Args::parse(words("--a x"), &["a"], &[]).unwrap().get::<u32>("a").is_err());
    }
}
