//! What `$NAME` stands for at a point of the Dockerfile: `ENV` over `ARG`, stage by stage.

use std::collections::{BTreeMap, BTreeSet};

use crate::{dockerfile::Statement, image::Platform};

/// Proxy settings: usable without `ARG`, in the environment of `RUN` when given, in no key and no history. Those that an
/// `ARG` declares are arguments as any other (Dockerfile reference, "Predefined ARGs").
const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Whether `name` is one of the predefined proxy arguments.
pub(crate) fn is_proxy(name: &str) -> bool {
    PROXIES.contains(&name)
}

/// The build arguments that the user gave, by name.
pub(crate) type BuildArgs = BTreeMap<String, String>;

/// The arguments that every build has in the global scope: the platform family (Dockerfile reference, "Automatic
/// platform ARGs in the global scope") and the target's name. What the user gave for one of them goes before.
pub(crate) fn automatic(
    target: &Platform,
    build: &Platform,
    stage: &str,
    given: &BuildArgs,
) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for (prefix, platform) in [("BUILD", build), ("TARGET", target)] {
        values.insert(format!("{prefix}PLATFORM"), platform.to_string());
        values.insert(format!("{prefix}OS"), platform.os().to_owned());
        values.insert(format!("{prefix}ARCH"), platform.architecture().to_owned());
        values.insert(format!("{prefix}VARIANT"), platform.variant().unwrap_or_default().to_owned());
    }
    values.insert("TARGETSTAGE".to_owned(), stage.to_owned());
    for (name, value) in &mut values {
        if let Some(given) = given.get(name) {
            value.clone_from(given);
        }
    }
    values
}

/// The arguments that are declared before the first `FROM`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Globals<'a> {
    values: BTreeMap<String, Option<String>>,
    automatic: BTreeMap<String, String>,
    /// Where each was declared, and which others its default was made of.
    origins: BTreeMap<String, (&'a Statement, BTreeSet<String>)>,
}

impl<'a> Globals<'a> {
    pub(crate) fn new(automatic: BTreeMap<String, String>) -> Self {
        Self { values: BTreeMap::new(), automatic, origins: BTreeMap::new() }
    }

    /// Notes where an argument was declared, and the arguments that its default used.
    pub(crate) fn remember(&mut self, name: &str, statement: &'a Statement, used: BTreeSet<String>) {
        self.origins.insert(name.to_owned(), (statement, used));
    }

    /// The statement that declares `name`.
    pub(crate) fn statement(&self, name: &str) -> Option<&'a Statement> {
        self.origins.get(name).map(|(statement, _)| *statement)
    }

    /// These arguments and those that they were made of.
    pub(crate) fn made_of(&self, mut names: BTreeSet<String>) -> BTreeSet<String> {
        let mut open: Vec<String> = names.iter().cloned().collect();
        while let Some(name) = open.pop() {
            let used = self.origins.get(&name).map(|(_, used)| used);
            for more in used.into_iter().flatten() {
                if names.insert(more.clone()) {
                    open.push(more.clone());
                }
            }
        }
        names
    }

    /// `ARG name[=default]` above the first `FROM`.
    pub(crate) fn declare(&mut self, name: &str, default: Option<String>, given: &BuildArgs) {
        let value = given.get(name).cloned().or(default);
        // An ARG without any value does not take an earlier one away.
        if value.is_some() || !self.values.contains_key(name) {
            let value = value.or_else(|| self.automatic.get(name).cloned());
            self.values.insert(name.to_owned(), value);
        }
    }

    /// The names that are declared, and those that every build has.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().chain(self.automatic.keys()).map(String::as_str)
    }

    /// How many are declared.
    pub(crate) fn count(&self) -> usize {
        self.values.len()
    }

    /// What `$name` is in a `FROM`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        match self.values.get(name) {
            Some(value) => value.as_deref(),
            None => self.automatic.get(name).map(String::as_str),
        }
    }
}

/// What the instructions of one stage see.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    /// In the order of their first declaration: a `RUN`'s environment and history show it.
    args: Vec<Argument>,
    /// Where in `args` each is: hostile files have thousands.
    places: BTreeMap<String, usize>,
}

/// A declared argument.
#[derive(Debug, Clone)]
struct Argument {
    name: String,
    value: Option<String>,
    /// Whether an `ENV` of its name came after it.
    hidden: bool,
}

impl Scope {
    /// `ARG name[=default]` inside a stage: what the user gave, else the default, else the global of that name.
    pub(crate) fn declare(&mut self, name: &str, default: Option<String>, given: &BuildArgs, globals: &Globals<'_>) {
        let value = given.get(name).cloned().or(default).or_else(|| globals.get(name).map(str::to_owned));
        // A later ARG without any value does not take an earlier one away.
        match self.places.get(name) {
            Some(&place) => {
                if value.is_some() {
                    self.args[place].value = value;
                    self.args[place].hidden = false;
                }
            }
            None => {
                self.places.insert(name.to_owned(), self.args.len());
                self.args.push(Argument { name: name.to_owned(), value, hidden: false });
            }
        }
    }

    /// The value of the argument `name`, if it is declared and has one.
    pub(crate) fn arg(&self, name: &str) -> Option<&str> {
        self.places.get(name).and_then(|&place| self.args[place].value.as_deref())
    }

    /// What `$name` is where an argument is it: of `ENV` and `ARG`, the later one counts.
    pub(crate) fn visible(&self, name: &str) -> Option<&str> {
        let argument = self.places.get(name).map(|&place| &self.args[place])?;
        argument.value.as_deref().filter(|_| !argument.hidden)
    }

    /// `ENV name=`: an argument of that name is not seen any more.
    pub(crate) fn hide(&mut self, name: &str) {
        if let Some(&place) = self.places.get(name) {
            self.args[place].hidden = true;
        }
    }

    /// Whether the argument `name` is declared, with a value or without.
    pub(crate) fn is_declared(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// How many are declared.
    pub(crate) fn count(&self) -> usize {
        self.args.len()
    }

    /// The names of the declared arguments, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.args.iter().map(|argument| argument.name.as_str())
    }

    /// The declared arguments with a value, in order.
    pub(crate) fn args(&self) -> impl Iterator<Item = (&str, &str)> {
        self.args.iter().filter_map(|argument| Some((argument.name.as_str(), argument.value.as_deref()?)))
    }
}

/// Where each variable of an image's environment is in it, so that a long `ENV` need not look through all for each.
#[derive(Debug)]
pub(crate) struct Places(BTreeMap<String, usize>);

impl Places {
    pub(crate) fn new(env: &[String]) -> Self {
        let mut places = BTreeMap::new();
        for (place, entry) in env.iter().enumerate() {
            // The first of several is the one that counts, and one without a value is none.
            if let Some((name, _)) = entry.split_once('=') {
                places.entry(name.to_owned()).or_insert(place);
            }
        }
        Self(places)
    }

    /// The value of the variable `name` of `env`.
    pub(crate) fn get<'e>(&self, env: &'e [String], name: &str) -> Option<&'e str> {
        self.0.get(name).and_then(|&place| env[place].split_once('=')).map(|(_, value)| value)
    }

    /// Sets the variable `name` of `env`, in its old place if it has one.
    pub(crate) fn set(&mut self, env: &mut Vec<String>, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        match self.0.get(name) {
            Some(&place) => env[place] = entry,
            None => {
                self.0.insert(name.to_owned(), env.len());
                env.push(entry);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(pairs: &[(&str, &str)]) -> BuildArgs {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_users_value_wins_over_the_default_and_the_default_over_the_global() {
        let mut globals = Globals::default();
        globals.declare("VERSION", Some("1".into()), &given(&[]));
        let mut scope = Scope::default();
        assert_eq!(scope.arg("VERSION"), None, "a global is not seen before ARG");
        scope.declare("VERSION", None, &given(&[]), &globals);
        assert_eq!(scope.arg("VERSION"), Some("1"));
        scope.declare("VERSION", Some("2".into()), &given(&[]), &globals);
        assert_eq!(scope.arg("VERSION"), Some("2"));
        scope.declare("VERSION", Some("3".into()), &given(&[("VERSION", "9")]), &globals);
        assert_eq!(scope.arg("VERSION"), Some("9"));
    }

    #[test]
    fn variables_keep_their_places() {
        let mut env: Vec<String> = ["A=1", "bare", "B=2", "A=3"].map(str::to_owned).to_vec();
        let mut places = Places::new(&env);
        assert_eq!(["A", "B", "bare", "C"].map(|name| places.get(&env, name)), [Some("1"), Some("2"), None, None]);
        places.set(&mut env, "A", "x=y");
        places.set(&mut env, "C", "");
        places.set(&mut env, "C", "4");
        assert_eq!(env, ["A=x=y", "bare", "B=2", "A=3", "C=4"]);
        assert_eq!(["A", "C"].map(|name| places.get(&env, name)), [Some("x=y"), Some("4")]);
    }

    #[test]
    fn an_argument_without_a_value_is_declared_but_unset() {
        let mut scope = Scope::default();
        scope.declare("X", None, &given(&[]), &Globals::default());
        assert_eq!(scope.arg("X"), None);
        assert_eq!(scope.args().count(), 0);
    }
}
