//! Users as text: what ACL LIST and ACL GETUSER show, and what makes the same users again.

use super::commands::{Commands, Rule};
use super::rules::Sanitize;
use super::selector::KeyPattern;
use super::{Rules, Selector, Vocabulary};
use crate::command::{Command, KeyAccess};

/// How the rules about commands are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// In the order they were given, as since Redis 7.2: it means the same when commands are learned.
    Ordered,
    /// The fewest categories and commands that are the same now, as Redis 7.0.
    Fewest,
}

impl Rules {
    /// What ACL LIST shows behind the user's name.
    pub fn line(&self, form: Form, known: Vocabulary) -> Vec<u8> {
        let mut words: Vec<Vec<u8>> = self.flags().map(|flag| flag.as_bytes().to_vec()).collect();
        words.extend(self.passwords.iter().map(|hash| format!("#{}", hash.digits()).into_bytes()));
        words.push(self.selectors_line(form, known));
        words.join(&b' ')
    }

    /// What of it says what the user may do, not how to log in.
    pub fn selectors_line(&self, form: Form, known: Vocabulary) -> Vec<u8> {
        let mut words = self.selectors[0].words(form, known);
        for selector in &self.selectors[1..] {
            let quoted = selector.words(form, known).into_iter().map(quoted).collect::<Vec<_>>();
            words.push([b"(", &*quoted.join(&b' '), b")"].concat());
        }
        words.join(&b' ')
    }

    /// The names in it that the table lacks.
    pub fn unknown<'a>(&'a self, known: Vocabulary<'a>) -> impl Iterator<Item = Box<[u8]>> + 'a {
        let rules = self.selectors.iter().flat_map(|selector| selector.commands.rules());
        rules.filter(move |rule| !rule.is_known(known)).map(|rule| rule.name.clone())
    }

    pub fn flags(&self) -> impl Iterator<Item = &'static str> {
        let sanitize = match self.sanitize {
            Sanitize::Untold => None,
            Sanitize::Yes => Some("sanitize-payload"),
            Sanitize::No => Some("skip-sanitize-payload"),
        };
        let enabled = if self.is_enabled { "on" } else { "off" };
        [Some(enabled), self.is_nopass.then_some("nopass"), sanitize].into_iter().flatten()
    }
}

impl Selector {
    fn words(&self, form: Form, known: Vocabulary) -> Vec<Vec<u8>> {
        let mut words = self.key_words();
        if !self.has_all_channels {
            words.push(b"resetchannels".to_vec());
        }
        words.extend(self.channel_words());
        words.extend(self.commands.words(form, known));
        words
    }

    pub fn commands_text(&self, form: Form, known: Vocabulary) -> Vec<u8> {
        self.commands.words(form, known).join(&b' ')
    }

    pub fn keys_text(&self) -> Vec<u8> {
        self.key_words().join(&b' ')
    }

    pub fn channels_text(&self) -> Vec<u8> {
        self.channel_words().join(&b' ')
    }

    fn key_words(&self) -> Vec<Vec<u8>> {
        if self.has_all_keys {
            return vec![b"~*".to_vec()];
        }
        self.keys.iter().map(key_word).collect()
    }

    fn channel_words(&self) -> Vec<Vec<u8>> {
        if self.has_all_channels {
            return vec![b"&*".to_vec()];
        }
        self.channels.iter().map(|pattern| [b"&", pattern.text()].concat()).collect()
    }
}

fn key_word(key: &KeyPattern) -> Vec<u8> {
    let mark: &[u8] = match key.access {
        KeyAccess::READ => b"%R~",
        KeyAccess::WRITE => b"%W~",
        // behind `~*` there may be no other, and behind this there may
        _ if key.pattern.text() == b"*" => b"%RW~",
        _ => b"~",
    };
    [mark, key.pattern.text()].concat()
}

/// A word within parentheses, such that it stays one, and does not close them.
fn quoted(word: Vec<u8>) -> Vec<u8> {
    let is_text = std::str::from_utf8(&word).is_ok();
    if is_text && word.last() != Some(&b')') && !word.iter().any(|byte| b"\"'".contains(byte)) {
        return word;
    }
    let mut quoted = vec![b'"'];
    for byte in word {
        match byte {
            b'"' | b'\\' => quoted.extend([b'\\', byte]),
            b' '..=b'~' => quoted.push(byte),
            0x80.. if is_text => quoted.push(byte),
            _ => quoted.extend(format!("\\x{byte:02x}").into_bytes()),
        }
    }
    quoted.push(b'"');
    quoted
}

impl Rule {
    fn word(&self) -> Vec<u8> {
        [if self.is_allowed { b"+" } else { b"-" }, &*self.name].concat()
    }

    /// Whether the table knows what it is about.
    pub fn is_known(&self, known: Vocabulary) -> bool {
        match &*self.name {
            [b'@', category @ ..] => known.category(category).is_some(),
            name => {
                let is_command = |name: &[u8]| known.command(name).is_some();
                let bar = name.iter().position(|byte| *byte == b'|');
                // a command without subcommands may have a first argument
                let is_plain = |bar: usize| known.command(&name[..bar]).is_some_and(|c| c.subcommands.is_empty());
                is_command(name) || bar.is_some_and(is_plain)
            }
        }
    }
}

impl Commands {
    fn words(&self, form: Form, known: Vocabulary) -> Vec<Vec<u8>> {
        let first: &[u8] = if self.begins_with_all() { b"+@all" } else { b"-@all" };
        let mut words = vec![first.to_vec()];
        // of what nobody knows there are no bits
        if form == Form::Ordered || self.rules().iter().any(|rule| !rule.is_known(known)) {
            words.extend(self.rules().iter().map(Rule::word));
        } else {
            words.extend(self.fewest(known));
        }
        words
    }

    /// Categories while each says more right than wrong, the best of them first; then what commands are left.
    fn fewest(&self, known: Vocabulary) -> Vec<Vec<u8>> {
        let is_adding = !self.begins_with_all();
        let mark = |is_allowed: bool, name: &[u8]| [if is_allowed { b"+" } else { b"-" }, name].concat();
        let (mut left, mut said, mut words) = (self.clone(), Self::default(), Vec::new());
        said.set_all(!is_adding, known);
        let mut categories: Vec<_> = known.categories().collect();
        loop {
            let mut best: Option<(usize, usize, usize)> = None; // its place, differences, and what it says right
            for (place, &(_, category)) in categories.iter().enumerate() {
                let commands = known.commands().flat_map(|command| command.subcommands.iter().chain([command]));
                let members = commands.filter(|command| command.categories.intersect(category));
                let (mut same, mut different) = (0, 0);
                for command in members {
                    *(if left.has(command.id) == is_adding { &mut same } else { &mut different }) += 1;
                }
                let is_better = |&(_, least, most)| different < least || different == least && same > most;
                if same > different && best.as_ref().is_none_or(is_better) {
                    best = Some((place, different, same));
                }
            }
            let Some((place, ..)) = best else { break };
            let (name, category) = categories.remove(place);
            said.set_category(category, is_adding, known);
            left.set_category(category, !is_adding, known);
            words.push(mark(is_adding, format!("@{name}").as_bytes()));
        }
        let mut tell = |command: &Command, words: &mut Vec<Vec<u8>>| {
            let is_allowed = self.has(command.id);
            if is_allowed != said.has(command.id) {
                words.push(mark(is_allowed, command.name.as_bytes()));
                said.set(command, is_allowed);
            }
        };
        for command in known.commands() {
            tell(command, &mut words);
            command.subcommands.iter().for_each(|sub| tell(sub, &mut words));
            if !self.has(command.id) {
                let arguments = self.first_arguments(command.id);
                words.extend(arguments.map(|word| mark(true, &[command.name.as_bytes(), b"|", word].concat())));
            }
        }
        words
    }
}
