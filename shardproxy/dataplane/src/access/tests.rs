//! What rules mean; `test_acl.py` compares the same with a real engine, many times over.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{Denied, Form, Rules, User, UserSpec, Users, Vocabulary};
use crate::command::{Command, CommandTable, Span};
use crate::dialect::resp::Request;
use crate::model::Kind;

fn table() -> CommandTable {
    CommandTable::builtin().unwrap()
}

fn rules(table: &CommandTable, line: &str) -> Result<Rules, String> {
    let known = Vocabulary::new(table);
    let mut rules = Rules::new(known);
    rules.apply_line(line, known).map_err(|fault| fault.in_full())?;
    Ok(rules)
}

fn spec(name: &str, rules: &str) -> UserSpec {
    UserSpec {
        name: name.to_owned(),
        enabled: true,
        nopass: false,
        passwords: Vec::new(),
        rules: rules.to_owned(),
        verified: false,
        session: Duration::ZERO,
    }
}

fn user(table: &CommandTable, rules: &str) -> User {
    User::compile(&spec("someone", rules), table).unwrap()
}

fn find<'t>(table: &'t CommandTable, words: &[&str]) -> &'t Command {
    let command = table.find(words[0].as_bytes()).unwrap();
    words.get(1).and_then(|word| command.subcommand(word.as_bytes())).unwrap_or(command)
}

fn check(table: &CommandTable, user: &User, line: &str) -> Result<(), Denied> {
    let words: Vec<&str> = line.split(' ').collect();
    let (mut bytes, mut spans) = (Vec::new(), Vec::new());
    for word in &words {
        let start = bytes.len() as u32;
        bytes.extend_from_slice(word.as_bytes());
        spans.push(Span { start, end: bytes.len() as u32 });
    }
    user.check(find(table, &words), &Request { bytes: &bytes, spans: &spans })
}

#[test]
fn a_request_needs_its_command_its_keys_and_its_channels() {
    let table = table();
    for (rules, line, expected) in [
        ("", "GET a", Err(Denied::Command)),
        ("+get", "GET a", Err(Denied::Key(1))),
        ("+get ~a*", "get abc", Ok(())),
        ("+get ~a*", "GET b", Err(Denied::Key(1))),
        ("+mget ~a*", "MGET a ab b c", Err(Denied::Key(3))),
        ("+@all ~*", "SET a 1", Ok(())),
        ("+@all -set ~*", "SET a 1", Err(Denied::Command)),
        ("+set -@all ~*", "SET a 1", Err(Denied::Command)),
        ("+@read ~*", "SET a 1", Err(Denied::Command)),
        ("+@all ~* nocommands", "SET a 1", Err(Denied::Command)),
        ("+config|get", "CONFIG GET x", Ok(())),
        ("+config|get", "CONFIG SET x 1", Err(Denied::Command)),
        ("+config -config|set", "CONFIG SET x 1", Err(Denied::Command)),
        ("+config -config|set", "CONFIG GET x", Ok(())),
        ("+select|0", "SELECT 0", Ok(())),
        ("+select|0", "SELECT 1", Err(Denied::Command)),
        ("+select|0 -select", "SELECT 0", Err(Denied::Command)),
        ("", "AUTH x", Ok(())),
        ("", "PING", Err(Denied::Command)),
        ("+@all %R~a %W~b", "GET a", Ok(())),
        ("+@all %R~a %W~b", "SET a 1", Err(Denied::Key(1))),
        ("+@all %R~a %W~b", "COPY a b", Ok(())),
        ("+@all %R~a %W~b", "COPY b a", Err(Denied::Key(1))),
        ("+@all %R~a %W~b", "SET b 1 GET", Err(Denied::Key(1))),
        ("+@all %R~a %W~a", "SET a 1 GET", Ok(())),
        ("+@all %R~a %W~b", "EXISTS a b", Ok(())),
        ("+@all %R~a %W~b", "GEORADIUS a 1 2 3 m STORE b STORE a", Err(Denied::Key(9))),
        ("+@all &news*", "PUBLISH news.eu x", Ok(())),
        ("+@all &news*", "PUBLISH old x", Err(Denied::Channel(1))),
        ("+@all &news*", "SPUBLISH old x", Err(Denied::Channel(1))),
        ("+@all &news*", "SUBSCRIBE newsy old", Err(Denied::Channel(2))),
        ("+@all &news*", "PSUBSCRIBE news.x*", Err(Denied::Channel(1))),
        ("+@all &news*", "PSUBSCRIBE news*", Ok(())),
        ("+@all &news*", "UNSUBSCRIBE old", Ok(())),
        ("+@all allchannels", "PSUBSCRIBE x*", Ok(())),
        ("+@all", "PUBLISH a b", Err(Denied::Channel(1))),
        ("+@all ~a", "SORT a BY nosort", Ok(())),
        ("+@all ~a", "SORT a BY w_*", Err(Denied::Lookup(2))),
        ("+@all ~a", "SORT_RO a ASC GET #", Err(Denied::Lookup(3))),
        ("+@all ~a %R~*", "SORT a BY w_* GET #", Ok(())),
        ("+sort ~a (+get %R~*)", "SORT a BY w_*", Err(Denied::Lookup(2))),
        ("+sort ~a (+@all ~*)", "SORT a BY w_* STORE a", Ok(())),
    ] {
        assert_eq!(check(&table, &user(&table, rules), line), expected, "{rules:?} {line:?}");
    }
}

#[test]
fn one_selector_must_allow_the_whole_request() {
    let table = table();
    let user = user(&table, "+get ~a* (+set ~b* %R~c*) (+mget ~a* ~b*) (+publish &x)");
    for (line, expected) in [
        ("GET a", Ok(())),
        ("SET b 1", Ok(())),
        ("MGET a b", Ok(())),
        ("DEL a", Err(Denied::Command)),
        ("GET b", Err(Denied::Key(1))),
        ("SET c 1", Err(Denied::Key(1))),
        ("MGET a b c d", Err(Denied::Key(3))),
        ("PUBLISH y 1", Err(Denied::Channel(1))),
        ("PUBLISH x 1", Ok(())),
    ] {
        assert_eq!(check(&table, &user, line), expected, "{line:?}");
    }
    let user = self::user(&table, "+mget ~a* (+mget ~a* ~b*)");
    assert_eq!(check(&table, &user, "MGET a b c"), Err(Denied::Key(3)), "the last that nobody allows");
}

#[test]
fn subscriptions_that_are_there_are_judged_again() {
    let table = table();
    let user = user(&table, "&news* (&x ~*)");
    for (kind, topic, expected) in [
        (Kind::Channel, "news.eu", true),
        (Kind::Shard, "x", true),
        (Kind::Channel, "y", false),
        (Kind::Pattern, "news*", true),
        (Kind::Pattern, "news.eu*", false),
    ] {
        assert_eq!(user.may_hear(kind, topic.as_bytes()), expected, "{topic}");
    }
    assert!(self::user(&table, "(&*)").may_hear(Kind::Pattern, b"anything*"));
}

#[test]
fn unrestricted_is_who_may_all_there_will_be() {
    let table = table();
    for (rules, expected) in [
        ("~* &* +@all", true),
        ("on allkeys allchannels allcommands (~x)", true),
        ("(~* &* +@all)", true),
        ("~* &* +@all -debug", false),
        ("~* +@all", false),
        ("&* +@all", false),
        ("~* &* +@all -debug +debug", false),
        ("~* &* (+@all)", false),
        ("~* &* +@all -@dangerous +@all", true),
    ] {
        assert_eq!(user(&table, rules).is_unrestricted(), expected, "{rules}");
    }
}

#[test]
fn a_password_is_one_of_the_hashes() {
    let table = table();
    let foo = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
    let of = |change: &dyn Fn(&mut UserSpec)| {
        let mut spec = spec("a", "");
        spec.passwords = vec![foo.to_owned()];
        change(&mut spec);
        User::compile(&spec, &table).map(|user| (user.takes(b"foo"), user.takes(b"bar")))
    };
    assert_eq!(of(&|_| {}), Ok((true, false)));
    assert_eq!(of(&|spec| spec.rules = ">bar".to_owned()), Ok((true, true)));
    assert_eq!(of(&|spec| spec.enabled = false), Ok((false, false)));
    assert_eq!(of(&|spec| spec.rules = "off".to_owned()), Ok((false, false)));
    assert_eq!(of(&|spec| spec.verified = true), Ok((false, false)));
    assert_eq!(of(&|spec| spec.nopass = true), Ok((true, true)));
    let wrong = of(&|spec| spec.passwords.push("s3cret".to_owned())).unwrap_err();
    assert!(wrong.contains("64 characters") && !wrong.contains("s3cret"), "{wrong}");
    let wrong = of(&|spec| spec.rules = "<s3cret".to_owned()).unwrap_err();
    assert!(wrong.contains("does not exist") && !wrong.contains("s3cret"), "{wrong}");
    let wrong = of(&|spec| spec.rules = "(+get >s3cret)".to_owned()).unwrap_err();
    assert!(!wrong.contains("s3cret"), "{wrong}");
}

#[test]
fn users_are_found_by_name_and_are_equal_while_nothing_changed() {
    let table = table();
    let compile = |specs: &[UserSpec]| Users::compile(specs, &table).unwrap();
    let (one, two) = (spec("one", "+get ~a"), spec("two", "+get ~b"));
    let users = compile(&[one.clone(), two]);
    assert_eq!(users.find(b"one").map(|user| &*user.name), Some("one"));
    assert!(users.find(b"ONE").is_none() && users.find(b"three").is_none());
    let same = compile(&[UserSpec { rules: " +GET  ~a".to_owned(), ..one.clone() }]);
    assert_eq!(users.find(b"one"), same.find(b"one"));
    for other in [
        UserSpec { rules: "+get ~b".to_owned(), ..one.clone() },
        UserSpec { rules: "+get +set ~a".to_owned(), ..one.clone() },
        UserSpec { rules: "+@all ~a".to_owned(), ..one.clone() },
        UserSpec { rules: "+get ~a +select|0".to_owned(), ..one.clone() },
        UserSpec { session: Duration::from_secs(1), ..one.clone() },
        UserSpec { nopass: true, ..one.clone() },
    ] {
        assert_ne!(users.find(b"one"), compile(&[other]).find(b"one"));
    }
    let wrong = Users::compile(&[UserSpec { rules: "+get what".to_owned(), ..one }], &table).unwrap_err();
    assert_eq!(wrong, "user \"one\": Error in ACL SETUSER modifier 'what': Syntax error");
}

/// The built-in table and one command behind it, as commands are learned.
fn grown(name: &str, category: &str) -> CommandTable {
    let builtin = include_str!("../../../commands/table.json").trim_end();
    let entry = format!(
        r#"{{"name":"{name}","arity":-2,"flags":["readonly"],"first":1,"last":1,"step":1,"categories":["@{category}"],
             "route":"shard","keys":"range","join":null,"note":null,"learned":true}}"#
    );
    let json = format!("{},{entry}]}}", builtin.strip_suffix("]}").unwrap());
    CommandTable::from_json(json.as_bytes()).unwrap()
}

#[test]
fn rules_about_what_is_not_known_yet_are_kept() {
    let table = table();
    for (rules, before_it_is_compiled_anew, then) in [
        ("~* +@all", Ok(()), Ok(())),
        ("~* +@all -@write", Err(Denied::Command), Ok(())),
        ("~* +@all -json.get", Err(Denied::Command), Err(Denied::Command)),
        ("~* +json.get", Err(Denied::Command), Ok(())),
        ("~* +JSON.GET", Err(Denied::Command), Ok(())),
        ("~* +@json", Err(Denied::Command), Ok(())),
        ("~* +@all -@json", Err(Denied::Command), Err(Denied::Command)),
        ("~* +json.get -@json", Err(Denied::Command), Err(Denied::Command)),
        ("~* -@json +json.get", Err(Denied::Command), Ok(())),
        ("~* +json.get|a", Err(Denied::Command), Ok(())),
        ("~b +json.get", Err(Denied::Command), Err(Denied::Key(1))),
    ] {
        let grown = grown("json.get", "json");
        let (old, new) = (user(&table, rules), user(&grown, rules));
        assert_eq!(check(&grown, &old, "JSON.GET a"), before_it_is_compiled_anew, "{rules}");
        assert_eq!(check(&grown, &new, "JSON.GET a"), then, "{rules}");
        assert_eq!(old, new);
        let line = "off ".to_owned() + rules;
        assert_eq!(self::rules(&table, &line).is_err(), rules.to_lowercase().contains("json"), "{rules}");
    }
    let unknown = |line: &str| {
        let mut rules = Rules::new(Vocabulary::keeping_unknown(&table));
        rules.apply_line(line, Vocabulary::keeping_unknown(&table)).unwrap();
        let names = rules.unknown(Vocabulary::new(&table)).map(|name| String::from_utf8_lossy(&name).into_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(unknown("+get +json.get -@json +@read +select|0 (+config|x)"), ["json.get", "@json", "config|x"]);
}

#[test]
fn commands_count_under_their_real_names() {
    let table = table().with(&serde_json::from_str(r#"{"rename": {"get": "fetch"}}"#).unwrap());
    let user = user(&table, "+get ~*");
    assert!(rules(&table, "+fetch").is_err());
    assert_eq!(check(&table, &user, "FETCH a"), Ok(()));
    assert_eq!(check(&table, &user, "SET a 1"), Err(Denied::Command));
}

#[test]
fn rules_are_described() {
    let table = table();
    let known = Vocabulary::new(&table);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    for (line, ordered, fewest) in [
        ("", "off resetchannels -@all", "off resetchannels -@all"),
        ("on nopass ~* &* +@all", "on nopass ~* &* +@all", "on nopass ~* &* +@all"),
        ("on +get +GET +set -get", "on resetchannels -@all +set -get", "on resetchannels -@all +set"),
        ("+config|get +config", "off resetchannels -@all +config", "off resetchannels -@all +config"),
        ("+@all -@write -@admin", "off resetchannels +@all -@write -@admin", "off resetchannels +@all -@write -@admin"),
        ("~a %R~b %W~c %W~b &d +select|A", "off ~a ~b %W~c resetchannels &d -@all +select|a", ""),
        ("(~a +get) (&b)", "off resetchannels -@all (~a resetchannels -@all +get) (resetchannels &b -@all)", ""),
        ("%RW~* ~x", "off %RW~* ~x resetchannels -@all", ""),
        (r#"("~\xff" "~a\"b" ~c) )"#, "", ""),
        ("(\"~a)\" +get)", r#"off resetchannels -@all ("~a)" resetchannels -@all +get)"#, ""),
        ("reset", "off sanitize-payload resetchannels -@all", ""),
    ] {
        let Ok(rules) = rules(&table, line) else {
            assert_eq!(ordered, "", "{line}");
            continue;
        };
        assert_eq!(text(rules.line(Form::Ordered, known)), ordered, "{line}");
        if !fewest.is_empty() {
            assert_eq!(text(rules.line(Form::Fewest, known)), fewest, "{line}");
        }
    }
}

#[test]
fn what_is_wrong_is_said_as_redis_says_it() {
    let table = table();
    for (line, expected) in [
        ("+nothing", "Error in ACL SETUSER modifier '+nothing': Unknown command or category name in ACL"),
        ("-select|0", "Error in ACL SETUSER modifier '-select|0': Unknown command or category name in ACL"),
        (
            "+config|get|x",
            "Error in ACL SETUSER modifier '+config|get|x': Allowing first-arg of a subcommand is not supported",
        ),
        ("what", "Error in ACL SETUSER modifier 'what': Syntax error"),
        ("%X~a", "Error in ACL SETUSER modifier '%X~a': Syntax error"),
        ("%~a", "Error in ACL SETUSER modifier '%~a': Syntax error"),
        ("(~a", "Unmatched parenthesis in acl selector starting at '(~a'."),
        ("(~a (on)", "Error in ACL SETUSER modifier '(~a (on)': Syntax error"),
        (r#"("~a)"#, "Error in ACL SETUSER modifier '(\"~a)': Syntax error"),
    ] {
        assert_eq!(rules(&table, line).err().as_deref(), Some(expected), "{line}");
    }
}

/// Modifiers of all kinds; some contradict others.
fn modifier() -> impl Strategy<Value = String> {
    let table = table();
    let commands = table.commands().iter().flat_map(|command| command.subcommands.iter().chain([command]));
    let mut names: Vec<String> = commands.map(|command| command.name.to_string()).collect();
    names.extend(table.categories().iter().map(|(name, _)| format!("@{name}")));
    names.extend(["@all", "json.get", "@json", "ft.x|y"].map(String::from));
    let words =
        vec!["allkeys", "resetkeys", "allchannels", "resetchannels", "+select|0", "+SET|a)", "~a)", "~\"", "%RW~*"];
    prop_oneof![
        (select(vec!["+", "-"]), select(names)).prop_map(|(mark, name)| format!("{mark}{name}")),
        "(~|%R~|%w~|%RW~|&)[a-c*?\\[\\]'\"\\\\é()]{0,4}",
        select(words).prop_map(String::from),
    ]
}

fn line() -> impl Strategy<Value = String> {
    let selector = vec(modifier(), 0..6).prop_map(|words| format!("({})", words.join(" ")));
    let flags = vec!["on", "off", "nopass", ">foo", "<foo", "resetpass", "sanitize-payload", "reset", "clearselectors"];
    let word = prop_oneof![6 => modifier(), 1 => selector, 1 => select(flags).prop_map(String::from)];
    vec(word, 0..12).prop_map(|words| words.join(" "))
}

/// Whatever of the line is right, carried out; none where parentheses do not match.
fn lenient(line: &str, known: Vocabulary) -> Rules {
    let mut rules = Rules::new(known);
    for word in super::words::modifiers_of(line).unwrap_or_default() {
        let _ = rules.apply_words([&*word].into_iter(), known);
    }
    rules
}

proptest! {
    #[test]
    fn what_is_described_is_the_same_again(line in line()) {
        let table = table();
        let known = Vocabulary::keeping_unknown(&table);
        let rules = lenient(&line, known);
        let described = String::from_utf8(rules.line(Form::Ordered, known)).unwrap();
        let mut again = Rules::new(known);
        again.apply_line(&described, known).unwrap();
        prop_assert_eq!(&again, &rules, "{}", described);
        let fewest = String::from_utf8(rules.line(Form::Fewest, known)).unwrap();
        let mut again = Rules::new(known);
        again.apply_line(&fewest, known).unwrap();
        for (one, other) in again.selectors.iter().zip(&rules.selectors) {
            for id in 0..known.ids() as u16 {
                prop_assert_eq!(one.commands.has(id), other.commands.has(id), "{} {}", id, fewest);
            }
        }
    }

    #[test]
    fn a_user_of_the_described_rules_may_the_same(line in line(), word in "[a-c]{0,3}", name in 0..1000_usize) {
        let table = table();
        let known = Vocabulary::keeping_unknown(&table);
        let rules = lenient(&line, known);
        let described = String::from_utf8(rules.selectors_line(Form::Fewest, known)).unwrap();
        let (one, other) = (User::with_rules(rules), user(&table, &described));
        let commands: Vec<_> = table.commands().iter().filter(|command| command.subcommands.is_empty()).collect();
        let line = format!("{} {word} 1 {word} {word}", commands[name % commands.len()].name);
        prop_assert_eq!(check(&table, &one, &line), check(&table, &other, &line), "{}", line);
    }
}
