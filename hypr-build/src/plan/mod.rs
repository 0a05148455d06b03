//! From a Dockerfile to a build graph.
//!
//! Planning is pure: a Dockerfile, the arguments of the build and the configurations of the base images give a
//! [`Plan`], or the names of the images whose configuration is still wanted. Every value in the plan is expanded.

mod configure;
mod error;
mod expand;
mod graph;
mod order;
mod path;
mod ports;
mod run;
mod shell;
mod stage;
mod stages;
#[cfg(test)]
mod tests;
mod transfer;
mod variables;

use std::collections::{BTreeMap, BTreeSet};

pub use self::error::{PlanError, Problem};
pub(crate) use self::{
    graph::{Copy, Files, Graph, ImageRequest, Operation, Origin, Run, Step, Workdir},
    variables::BuildArgs,
};
use self::{stage::Built, stages::Stages};
use crate::{
    dockerfile::{Directives, Dockerfile, Instruction},
    executor::Network,
    image::{ImageConfig, Platform},
};

/// What a build asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) dockerfile: &'a Dockerfile,
    pub(crate) args: &'a BuildArgs,
    pub(crate) target: Option<&'a str>,
    pub(crate) platform: &'a Platform,
    /// The named contexts and what each of them is.
    pub(crate) contexts: &'a BTreeMap<String, ContextKind>,
    /// `--label`: set last.
    pub(crate) labels: &'a BTreeMap<String, String>,
    pub(crate) cache: &'a CacheUse,
    /// The network of a `RUN` that does not say.
    pub(crate) network: Network,
}

/// What a named context holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContextKind {
    /// Files.
    Directory,
    /// An image.
    Image,
}

/// Which steps may be taken from the cache.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum CacheUse {
    #[default]
    All,
    /// None of these stages, by name in lower case.
    Except(BTreeSet<String>),
    None,
}

/// What to do for an image.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) graph: Graph,
    /// The tree that becomes the image.
    pub(crate) target: Origin,
    /// The image's configuration, without times and without `rootfs`.
    pub(crate) config: ImageConfig,
    /// For each entry of the configuration's history that this build adds: the step that made its layer.
    pub(crate) history: Vec<Option<graph::StepId>>,
    /// What the user should know.
    pub(crate) warnings: Vec<Warning>,
}

/// Something that works but is probably not what was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Warning {
    pub(crate) line: Option<usize>,
    pub(crate) message: String,
}

/// A plan, or what is missing for it.
#[derive(Debug)]
pub(crate) enum Outcome {
    Ready(Box<Plan>),
    /// The configurations of these images are wanted, each with the line of the Dockerfile that names it.
    Needs(BTreeMap<ImageRequest, usize>),
}

/// Plans `request` with the configurations that are known.
///
/// # Errors
/// Fails on the first thing in the Dockerfile that cannot be built.
pub(crate) fn plan(request: &Request<'_>, images: &BTreeMap<ImageRequest, ImageConfig>) -> Result<Outcome, PlanError> {
    check_frontend(&request.dockerfile.directives)?;
    let stages = Stages::new(request)?;
    let order = match order::order(&stages, request, images)? {
        order::Order::Known(order) => order,
        order::Order::Needs(wanted) => return Ok(Outcome::Needs(wanted)),
    };
    let mut graph = Graph::default();
    let mut built: BTreeMap<usize, Built> = BTreeMap::new();
    let mut warnings: Vec<Warning> = unused(request).into_iter().chain(without_effect(request, &stages)).collect();
    for stage in order {
        let result = stage::Builder { request, stages: &stages, images, built: &built, graph: &mut graph }
            .build(stage, &mut warnings)?;
        built.insert(stage, result);
    }
    let Built { mut config, origin, history, .. } = built.remove(&stages.target).expect("the target is ordered last");
    config.config.labels.extend(request.labels.iter().map(|(key, value)| (key.clone(), value.clone())));
    let (target, renumbered) = graph.prune(origin);
    let history = history.into_iter().map(|step| step.and_then(|step| renumbered.get(&step).copied())).collect();
    Ok(Outcome::Ready(Box::new(Plan { graph, target, config, history, warnings })))
}

/// Refuses a frontend other than the Dockerfile's own: it would be another language.
fn check_frontend(directives: &Directives) -> Result<(), PlanError> {
    let Some(syntax) = &directives.syntax else { return Ok(()) };
    let name = syntax.strip_prefix("docker.io/").unwrap_or(syntax);
    let name = name.split([':', '@']).next().unwrap_or(name);
    match name {
        "docker/dockerfile" | "docker/dockerfile-upstream" => Ok(()),
        _ => Err(Problem::NotYet(format!("the frontend `{}`", syntax.value)).at(syntax.span)),
    }
}

/// Warnings about what was asked for and means nothing here.
fn without_effect(request: &Request<'_>, stages: &Stages<'_>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if let Some(check) = &request.dockerfile.directives.check {
        let line = Some(request.dockerfile.source.line(check.span.start));
        let message = "build checks are not supported yet: `# check` has no effect".to_owned();
        warnings.push(Warning { line, message });
    }
    if let CacheUse::Except(names) = request.cache {
        for name in names.iter().filter(|name| !stages.has_label(name)) {
            let message = format!("there is no stage `{name}` to leave out of the cache");
            warnings.push(Warning { line: None, message });
        }
    }
    warnings
}

/// A warning about the arguments that no `ARG` of the file asks for.
fn unused(request: &Request<'_>) -> Option<Warning> {
    let declared: BTreeSet<&str> = request
        .dockerfile
        .statements
        .iter()
        .filter_map(|statement| match &statement.instruction {
            Instruction::Arg(arg) => Some(arg.declarations.iter().map(|declaration| declaration.name.as_str())),
            _ => None,
        })
        .flatten()
        .collect();
    let is_used = |name: &str| {
        declared.contains(name)
            || variables::is_proxy(name)
            || name.starts_with("BUILDKIT_")
            || name == SOURCE_DATE_EPOCH
    };
    let unused: Vec<&str> = request.args.keys().map(String::as_str).filter(|name| !is_used(name)).collect();
    let message =
        format!("no ARG asks for the build argument{} {}", if unused.len() == 1 { "" } else { "s" }, unused.join(", "));
    (!unused.is_empty()).then_some(Warning { line: None, message })
}

/// The argument that sets the time of the image; it means something without `ARG`.
pub(crate) const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";
