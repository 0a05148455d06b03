//! Questions about a Dockerfile that are answered without building it: what the checks find, which arguments a target
//! takes, which targets there are.
//!
//! Nothing is fetched for an answer. The configuration of a base image that is neither in the store nor given as a
//! context is not known then, and what depends on it is not checked.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    agents,
    bases::Bases,
    blocking, checks,
    inputs::{self, Inputs, Sources},
};
use crate::{
    builder::Builder,
    dockerfile::{Dockerfile, Instruction},
    error::Error,
    image::Platform,
    lint::{Collector, Finding},
    plan::{self, ImageRequest, Outcome, Outline, Request},
    remote::Client,
    ssh::DEFAULT_AGENT,
    store::{Store, resolve_root},
};

/// What the build checks say of a Dockerfile.
#[derive(Debug)]
#[non_exhaustive]
pub struct CheckReport {
    /// The Dockerfile as the caller named it.
    pub file: String,
    /// The Dockerfile itself, into which the places of the findings point.
    pub dockerfile: Dockerfile,
    /// What was found, in the order of the lines.
    pub findings: Vec<Finding>,
    /// Why the Dockerfile cannot be built at all, if that shows without building it.
    pub error: Option<Error>,
    /// The base images whose configuration is not at hand, so that variables of stages on them were not checked.
    pub unknown: Vec<String>,
}

/// The stages of a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Targets {
    /// They, in the order of the file.
    pub stages: Vec<Target>,
    /// The text of the Dockerfile.
    pub dockerfile: String,
}

/// A stage that can be built.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Target {
    /// Its name in lower case; `None` where it has only a number.
    pub name: Option<String>,
    /// Its number, from 0.
    pub number: usize,
    /// What the comment above it says, if that begins with its name.
    pub description: Option<String>,
    /// The image or stage that it stands on, as written.
    pub base: String,
    /// `--platform`, as written.
    pub platform: Option<String>,
    /// Whether it is built when no target is asked for.
    pub is_default: bool,
    /// The line of its `FROM`, from 1.
    pub line: usize,
}

/// See [`Builder::check`].
pub(crate) async fn check(builder: Builder) -> Result<CheckReport, Error> {
    let all_stages = builder.target.is_none();
    let question = Question::read(builder).await?;
    let lint = checks::collector(&question.builder.args, &question.inputs.file, &question.inputs.dockerfile)?;
    let answer = question.ask(&lint, all_stages).await?;
    let Question { inputs: Inputs { dockerfile, file, .. }, .. } = question;
    let unknown = answer.unknown.into_iter().map(|request| request.name).collect();
    let error = answer.result.err().map(|errors| Error::plan(&file, &dockerfile, errors));
    Ok(CheckReport { findings: lint.finish(), file, dockerfile, error, unknown })
}

/// See [`Builder::outline`].
pub(crate) async fn outline(builder: Builder) -> Result<Outline, Error> {
    let question = Question::read(builder).await?;
    let (lint, Inputs { dockerfile, file, .. }) = (Collector::default(), &question.inputs);
    let answer = question.ask(&lint, false).await?;
    let mut outline = match answer.result {
        Ok(Outcome::Ready(plan)) => plan.outline,
        Ok(Outcome::Needs(_)) => Outline::default(),
        Err(errors) => return Err(Error::plan(file, dockerfile, errors)),
    };
    let wanted = question.builder.target.as_deref().map(str::to_lowercase);
    // A name goes before a number.
    let by_name = |stage: &&Target| wanted.is_some() && stage.name == wanted;
    let by_number = |stage: &&Target| match &wanted {
        Some(wanted) => *wanted == stage.number.to_string(),
        None => stage.is_default,
    };
    let stages = stages(dockerfile);
    if let Some(stage) = stages.iter().find(by_name).or_else(|| stages.iter().find(by_number)) {
        (outline.name, outline.description) = (stage.name.clone(), stage.description.clone());
    }
    outline.dockerfile = dockerfile.source.text().to_owned();
    Ok(outline)
}

/// See [`Builder::targets`].
pub(crate) async fn targets(builder: Builder) -> Result<Targets, Error> {
    let question = Question::read(builder).await?;
    let dockerfile = &question.inputs.dockerfile;
    Ok(Targets { stages: stages(dockerfile), dockerfile: dockerfile.source.text().to_owned() })
}

fn stages(dockerfile: &Dockerfile) -> Vec<Target> {
    let stages = dockerfile.statements.iter().filter_map(|statement| match &statement.instruction {
        Instruction::From(from) => Some((statement, from)),
        _ => None,
    });
    let last = stages.clone().count().saturating_sub(1);
    let target = |(number, (statement, from)): (usize, (&crate::dockerfile::Statement, &crate::dockerfile::From))| {
        let name = from.stage_name();
        Target {
            description: name.as_deref().and_then(|name| plan::description(&statement.comments, name)),
            name,
            number,
            base: from.image.value.clone(),
            platform: from.platform.as_ref().map(|platform| platform.value.clone()),
            is_default: number == last,
            line: statement.line,
        }
    };
    stages.enumerate().map(target).collect()
}

/// A Dockerfile and what else an answer needs.
struct Question {
    builder: Settings,
    inputs: Inputs,
    store: Store,
    platform: Platform,
}

/// What is left of the builder once its inputs are read.
struct Settings {
    args: plan::BuildArgs,
    target: Option<String>,
    labels: BTreeMap<String, String>,
    cache: plan::CacheUse,
    network: crate::executor::Network,
    sink: std::sync::Arc<dyn crate::progress::ProgressSink>,
}

struct Answer {
    result: Result<Outcome, Vec<plan::PlanError>>,
    unknown: BTreeSet<ImageRequest>,
}

impl Question {
    async fn read(mut builder: Builder) -> Result<Self, Error> {
        let platform = match &builder.platform {
            None => Platform::host(),
            Some(text) => text.parse()?,
        };
        let root = builder.store.clone();
        let store = blocking(move || Ok(Store::open(&resolve_root(root.as_deref())?)?)).await?;
        let client = Client::new(agents(&builder.ssh)?.remove(DEFAULT_AGENT));
        let inputs = inputs::read(&client, &store, Sources::of(&mut builder)).await?;
        let builder = Settings {
            args: builder.args,
            target: builder.target,
            labels: builder.labels,
            cache: builder.cache,
            network: builder.network,
            sink: builder.sink,
        };
        Ok(Self { builder, inputs, store, platform })
    }

    /// Plans with the configurations that are at hand, and with empty ones for the other images.
    async fn ask(&self, lint: &Collector, all_stages: bool) -> Result<Answer, Error> {
        let (kinds, host) = (self.inputs.contexts.kinds(), Platform::host());
        let mut unknown = BTreeSet::new();
        let bases = Bases::new(&self.store, &self.inputs.contexts, &self.builder.sink);
        let mut configs = BTreeMap::new();
        loop {
            let request = Request {
                dockerfile: &self.inputs.dockerfile,
                args: &self.builder.args,
                target: self.builder.target.as_deref(),
                platform: &self.platform,
                build_platform: &host,
                contexts: &kinds,
                labels: &self.builder.labels,
                cache: &self.builder.cache,
                network: self.builder.network,
                lint,
                ignore: self.inputs.ignore.as_deref(),
                all_stages,
                unknown: &unknown,
            };
            let result = plan::plan(&request, &configs);
            let Ok(Outcome::Needs(wanted)) = result else { return Ok(Answer { result, unknown }) };
            for image in wanted.into_keys() {
                let config = bases.at_hand(&image).await;
                if config.is_none() {
                    unknown.insert(image.clone());
                }
                configs.insert(image, config.unwrap_or_default());
            }
        }
    }
}
