//! From a Dockerfile to a build graph.
//!
//! Planning is pure: a Dockerfile, the arguments of the build and the configurations of the base images give a
//! [`Plan`], or the names of the images whose configuration is still wanted. Every value in the plan is expanded.

mod budget;
mod configure;
mod error;
mod expand;
mod from;
mod graph;
mod history;
mod mode;
mod mount;
mod order;
mod outline;
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

use self::{
    budget::Budget,
    outline::Notes,
    stage::{Built, Shared},
    stages::Stages,
};
pub use self::{
    error::{PlanError, Problem},
    outline::{Outline, OutlineArg, OutlineMount},
};
pub(crate) use self::{
    graph::{
        Copy, Files, Graph, ImageRequest, Mount, MountKind, Operation, Origin, Run, Sharing, Step, Unpack, Workdir,
    },
    mode::Mode,
    outline::description,
    variables::BuildArgs,
};
use crate::{
    context::Ignore,
    dockerfile::{Dockerfile, Instruction, Span},
    executor::Network,
    image::{ImageConfig, Platform},
    lint::Collector,
};

/// What a build asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) dockerfile: &'a Dockerfile,
    pub(crate) args: &'a BuildArgs,
    pub(crate) target: Option<&'a str>,
    pub(crate) platform: &'a Platform,
    /// The platform that the build itself runs on.
    pub(crate) build_platform: &'a Platform,
    /// The named contexts and what each of them is.
    pub(crate) contexts: &'a BTreeMap<String, ContextKind>,
    /// `--label`: set last.
    pub(crate) labels: &'a BTreeMap<String, String>,
    pub(crate) cache: &'a CacheUse,
    /// The network of a `RUN` that does not say.
    pub(crate) network: Network,
    /// Takes what the build checks find.
    pub(crate) lint: &'a Collector,
    /// What the context leaves out.
    pub(crate) ignore: Option<&'a Ignore>,
    /// Whether all stages are planned, as the checks want it, and not only what the target needs.
    pub(crate) all_stages: bool,
    /// Images that are planned with an empty configuration because theirs cannot be had.
    pub(crate) unknown: &'a BTreeSet<ImageRequest>,
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
    /// What the target can be given.
    pub(crate) outline: Outline,
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
/// Fails with all that is wrong with the stages that are needed, in the order of the file.
pub(crate) fn plan(
    request: &Request<'_>,
    images: &BTreeMap<ImageRequest, ImageConfig>,
) -> Result<Outcome, Vec<PlanError>> {
    check_frontend(request).map_err(|error| vec![error])?;
    let budget = Budget::new();
    let stages = Stages::new(request, &budget)?;
    let mut errors = Vec::new();
    let order = match order::order(&stages, request, images, &budget, &mut errors).map_err(|error| vec![error])? {
        order::Order::Known(order) => order,
        order::Order::Needs(wanted) if errors.is_empty() => return Ok(Outcome::Needs(wanted)),
        order::Order::Needs(wanted) => return without(wanted.into_keys(), request, images),
    };
    let mut graph = Graph::default();
    let mut built: BTreeMap<usize, Built> = BTreeMap::new();
    let warnings: Vec<Warning> = unused(request).into_iter().chain(without_effect(request, &stages)).collect();
    let notes = Notes::default();
    let shared = Shared { request, stages: &stages, images, budget: &budget, notes: &notes };
    for stage in order {
        let result = stage::Builder { shared, built: &built, graph: &mut graph }.build(stage, &mut errors);
        match result {
            Ok(result) => built.insert(stage, result),
            Err(error) => {
                errors.push(error);
                break;
            }
        };
        if errors.len() >= MAX_ERRORS {
            break;
        }
    }
    if !errors.is_empty() {
        errors.sort_by_key(|error| error.span);
        errors.dedup();
        return Err(errors);
    }
    let Built { mut config, origin, history, .. } = built.remove(&stages.target).expect("the target is in the order");
    config.config.labels.extend(request.labels.iter().map(|(key, value)| (key.clone(), value.clone())));
    let (target, renumbered) = graph.prune(origin);
    let history = history.into_iter().map(|step| step.and_then(|step| renumbered.get(&step).copied())).collect();
    let outline = notes.finish();
    Ok(Outcome::Ready(Box::new(Plan { graph, target, config, history, outline, warnings })))
}

/// Plans a file that cannot be built whatever these images are: what else is wrong with it is told before they are
/// fetched.
fn without(
    wanted: impl Iterator<Item = ImageRequest>,
    request: &Request<'_>,
    images: &BTreeMap<ImageRequest, ImageConfig>,
) -> Result<Outcome, Vec<PlanError>> {
    let (mut images, mut unknown) = (images.clone(), request.unknown.clone());
    for image in wanted {
        images.insert(image.clone(), ImageConfig::default());
        unknown.insert(image);
    }
    plan(&Request { unknown: &unknown, ..*request }, &images)
}

/// Errors after which planning stops.
const MAX_ERRORS: usize = 20;

/// Build arguments that ask BuildKit for what is not done here.
const WITHOUT_EFFECT: [&str; 3] = ["BUILDKIT_INLINE_CACHE", "BUILDKIT_MULTI_PLATFORM", "BUILDKIT_SANDBOX_HOSTNAME"];

/// The build argument that names a frontend in place of `# syntax=`.
const SYNTAX_ARGUMENT: &str = "BUILDKIT_SYNTAX";

/// Refuses a frontend other than the Dockerfile's own: it would be another language. A copy of it may lie in any
/// registry, and what follows its name are words for it.
fn check_frontend(request: &Request<'_>) -> Result<(), PlanError> {
    let directive = request.dockerfile.directives.syntax.as_ref();
    let (syntax, span): (&str, Option<Span>) = match (request.args.get(SYNTAX_ARGUMENT), directive) {
        (Some(given), _) => (given, None),
        (None, Some(directive)) => (directive, Some(directive.span)),
        (None, None) => return Ok(()),
    };
    let image = syntax.split_whitespace().next().unwrap_or_default();
    let image = image.split('@').next().unwrap_or(image);
    // A colon before the last slash belongs to the registry's port.
    let name = match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    };
    let is_own = ["docker/dockerfile", "docker/dockerfile-upstream"]
        .iter()
        .any(|own| name.strip_suffix(own).is_some_and(|before| before.is_empty() || before.ends_with('/')));
    if is_own || image.is_empty() {
        return Ok(());
    }
    let problem = Problem::NotYet(format!("the frontend `{syntax}`"));
    Err(PlanError { span, problem })
}

/// Warnings about what was asked for and means nothing here.
fn without_effect(request: &Request<'_>, stages: &Stages<'_>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for name in WITHOUT_EFFECT.into_iter().filter(|name| request.args.contains_key(*name)) {
        let message = format!("the build argument {name} has no effect here");
        warnings.push(Warning { line: None, message });
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
