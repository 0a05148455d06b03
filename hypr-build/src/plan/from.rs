//! `FROM`: its image and platform expanded, with the arguments that are declared above the first one.

use std::collections::BTreeSet;

use super::{
    Request,
    budget::{self, Budget},
    error::{PlanError, Problem},
    stages::words,
    variables::{self, BuildArgs, Globals},
};
use crate::{
    dockerfile::{self, Span, Spanned, Statement, nearest, words::Expansion},
    image::{Platform, Reference},
    lint::Rule,
};

/// What a `FROM` says, variables expanded.
#[derive(Debug)]
pub(super) struct Expanded {
    pub(super) image: String,
    pub(super) platform: Platform,
    /// The arguments that were used, and those that these were made of.
    pub(super) used: BTreeSet<String>,
}

/// Expands one `FROM` after the other.
pub(super) struct Froms<'r, 'a> {
    request: &'r Request<'a>,
    budget: &'r Budget,
    globals: Globals<'a>,
    /// The same without what the user gave: a Dockerfile should name its images by itself.
    defaults: Globals<'a>,
}

impl<'r, 'a> Froms<'r, 'a> {
    pub(super) fn new(request: &'r Request<'a>, stage: &str, budget: &'r Budget) -> Self {
        let automatic = |given: &BuildArgs| {
            Globals::new(variables::automatic(request.platform, request.build_platform, stage, given))
        };
        Self { request, budget, globals: automatic(request.args), defaults: automatic(&BuildArgs::new()) }
    }

    pub(super) fn finish(self) -> Globals<'a> {
        self.globals
    }

    /// An `ARG` above the first `FROM`.
    pub(super) fn declare(&mut self, statement: &'a Statement, arg: &dockerfile::Arg) -> Result<(), PlanError> {
        for declaration in &arg.declarations {
            let name = &declaration.name;
            // The default of an argument that is given is not even looked at.
            let given = self.request.args.contains_key(&name.value);
            let expanded = |globals: &Globals<'_>, word: &Spanned<String>| {
                words(self.request, self.budget, globals).expansion(word)
            };
            let default = declaration.default.as_ref();
            let value = default.filter(|_| !given).map(|word| expanded(&self.globals, word)).transpose()?;
            let by_default = default.and_then(|word| expanded(&self.defaults, word).ok());
            let (value, used) = value.map_or((None, BTreeSet::new()), |value| (Some(value.text), value.used));
            self.globals.declare(name, value, self.request.args);
            self.globals.remember(name, statement, used);
            self.defaults.declare(name, by_default.map(|default| default.text), &BuildArgs::new());
            budget::variables(self.globals.count()).map_err(|problem| problem.at(statement.span))?;
        }
        Ok(())
    }

    pub(super) fn expand(&self, statement: &Statement, from: &dockerfile::From) -> Result<Expanded, PlanError> {
        let expansion = self.word(statement, &from.image)?;
        let image = expansion.text;
        if image.is_empty() {
            let what = "the base image's name";
            return Err(self.empty(what, &from.image, &expansion.undefined));
        }
        budget::path(&image).map_err(|problem| problem.at(from.image.span))?;
        if from.image.contains('$') {
            let by_default = words(self.request, self.budget, &self.defaults).word(&from.image);
            if by_default.is_ok_and(|image| image.parse::<Reference>().is_err()) {
                let detail = || format!("the defaults of its arguments make `{}` no image name", from.image.value);
                self.report(Rule::InvalidDefaultArgInFrom, statement, from.image.span, detail);
            }
        }
        let mut used = self.globals.made_of(expansion.used);
        let platform = self.platform(statement, from, &mut used)?;
        Ok(Expanded { image, platform, used })
    }

    fn platform(
        &self,
        statement: &Statement,
        from: &dockerfile::From,
        used: &mut BTreeSet<String>,
    ) -> Result<Platform, PlanError> {
        let Some(word) = &from.platform else { return Ok(self.request.platform.clone()) };
        let expansion = self.word(statement, word)?;
        if expansion.text.is_empty() {
            return Err(self.empty("--platform", word, &expansion.undefined));
        }
        let expected = "a platform such as linux/amd64";
        let platform: Platform = expansion
            .text
            .parse()
            .map_err(|_| Problem::Value { value: expansion.text.clone(), expected }.at(word.span))?;
        used.extend(self.globals.made_of(expansion.used.clone()));
        let only = expansion.used.iter().eq(["TARGETPLATFORM"]) && expansion.unset.is_empty();
        if only && self.globals.get("TARGETPLATFORM") == Some(&expansion.text) {
            let detail = || format!("--platform={} is what FROM takes anyway", word.value);
            self.report(Rule::RedundantTargetPlatform, statement, word.span, detail);
        }
        let name = from.stage_name().unwrap_or_default();
        let told_by_name = name.contains(platform.os()) || name.contains(platform.architecture());
        if expansion.used.is_empty() && expansion.unset.is_empty() && !told_by_name {
            let detail = || format!("--platform should not be fixed to `{}`", expansion.text);
            self.report(Rule::FromPlatformFlagConstDisallowed, statement, word.span, detail);
        }
        Ok(platform)
    }

    fn word(&self, statement: &Statement, word: &Spanned<String>) -> Result<Expansion, PlanError> {
        let expansion = words(self.request, self.budget, &self.globals).expansion(word)?;
        for name in &expansion.undefined {
            if !self.globals.names().any(|known| known == name) {
                let detail = || {
                    let near = nearest(name, self.globals.names());
                    let hint = near.map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default();
                    format!("FROM uses the argument `{name}`, which is not declared before it{hint}")
                };
                self.report(Rule::UndefinedArgInFrom, statement, word.span, detail);
            }
        }
        Ok(expansion)
    }

    fn empty(&self, what: &'static str, word: &Spanned<String>, undefined: &BTreeSet<String>) -> PlanError {
        let near = undefined.iter().find_map(|name| nearest(name, self.globals.names().filter(|near| near != name)));
        Problem::EmptyImage { what, word: word.value.clone(), near: near.map(str::to_owned) }.at(word.span)
    }

    fn report(&self, rule: Rule, statement: &Statement, span: Span, detail: impl FnOnce() -> String) {
        self.request.lint.report(rule, statement, span, detail);
    }
}
