//! One build from request to image: the only place that knows every part of the crate.
//!
//! Read the Dockerfile, plan it (fetching the configurations of base images as the plan asks for them), solve the
//! graph, export the image.

mod bases;
mod checks;
mod export;
mod inputs;
mod inspect;
mod prune;
mod sandbox;
mod verify;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use self::{
    bases::Bases,
    inputs::{Inputs, Sources},
};
pub use self::{
    export::BuiltImage,
    inspect::{CheckReport, Target, Targets},
    prune::prune,
    verify::{Change, PathDifference, Verified},
};
pub(crate) use self::{
    export::Export,
    inspect::{check, outline, targets},
    verify::verify,
};
use crate::{
    builder::Builder,
    context::Tree,
    error::{Error, Location},
    image::{Platform, Reference},
    plan::{self, Outcome, Plan, PlanError, Request, SOURCE_DATE_EPOCH},
    progress::Event,
    remote,
    solve::{Failed, Piles, Readers, Slots, Solver, StepError},
    ssh::{DEFAULT_AGENT, SshAgent},
    store::{Store, resolve_root},
};

/// Carries out what `builder` describes.
pub(crate) async fn build(builder: Builder) -> Result<BuiltImage, Error> {
    export::export(solve(builder).await?).await
}

/// Carries out every step and returns what an image is made of.
pub(crate) async fn solve(mut builder: Builder) -> Result<Export, Error> {
    // Everything that can be wrong with the request itself is found before any work is done.
    let tags = builder.tags.iter().map(|tag| tag.parse()).collect::<Result<Vec<Reference>, _>>()?;
    let platform = match &builder.platform {
        None => Platform::host(),
        Some(text) => text.parse()?,
    };
    let epoch = source_date_epoch(&builder)?;
    if let Some(seconds) = epoch {
        // A Dockerfile may take it as an ARG, whichever way it was given.
        builder.args.insert(SOURCE_DATE_EPOCH.to_owned(), seconds.to_string());
    }
    let ssh = agents(&builder.ssh)?;
    let root = builder.store.clone();
    let store = blocking(move || Ok(Store::open(&resolve_root(root.as_deref())?)?)).await?;
    let client = Arc::new(remote::Client::new(ssh.get(DEFAULT_AGENT).cloned()));
    let sources = Sources::of(&mut builder);
    let Inputs { dockerfile, file, context, ignore, contexts } = inputs::read(&client, &store, sources).await?;

    let (kinds, host, unknown) = (contexts.kinds(), Platform::host(), BTreeSet::new());
    let lint = checks::collector(&builder.args, &file, &dockerfile)?;
    let request = Request {
        dockerfile: &dockerfile,
        args: &builder.args,
        target: builder.target.as_deref(),
        platform: &platform,
        build_platform: &host,
        contexts: &kinds,
        labels: &builder.labels,
        cache: &builder.cache,
        network: builder.network,
        lint: &lint,
        ignore: ignore.as_deref(),
        all_stages: false,
        unknown: &unknown,
    };
    let invalid = |errors: Vec<PlanError>| Error::plan(&file, &dockerfile, errors);
    let mut bases = Bases::new(&store, &contexts, &builder.sink);
    let Plan { graph, target, config, history, warnings, outline: _ } = loop {
        match plan::plan(&request, bases.configs()).map_err(invalid)? {
            Outcome::Ready(plan) => break *plan,
            Outcome::Needs(wanted) => bases.fetch(wanted, &file, &dockerfile.stage_names()).await?,
        }
    };
    // Without --platform the image is for the platform of its base.
    let own = config.platform();
    let is_known = !own.os().is_empty() && !own.architecture().is_empty();
    let image_platform = if builder.platform.is_none() && is_known { own } else { platform.clone() };
    let findings = checks::finish(lint, &file, &dockerfile)?;
    let warn = |line, message| builder.sink.event(Event::Warning { line, message });
    for finding in findings {
        warn(Some(finding.lines.0), format!("{}: {}", finding.rule, finding.detail));
    }
    warnings.into_iter().for_each(|warning| warn(warning.line, warning.message));

    let work_dir;
    let (executor, reason) = match (&builder.executor, graph.has_run()) {
        (_, false) => (None, None),
        (Some(executor), true) => (Some(executor.clone()), None),
        (None, true) => {
            let opened = store.clone();
            work_dir = blocking(move || Ok(opened.work_dir()?)).await?;
            let chosen = sandbox::choose(builder.isolation, &builder.kernel, &graph, work_dir.path(), &store).await?;
            (Some(chosen.executor), Some(chosen.reason))
        }
    };
    builder.sink.event(Event::Planned {
        steps: graph.steps.len(),
        executor: executor.as_ref().map(|executor| executor.name()),
        reason,
    });
    let locations: Vec<(usize, String)> =
        graph.steps.iter().map(|step| (step.info.line, step.info.text.to_string())).collect();
    let trees: Vec<Arc<dyn Tree>> = context.iter().cloned().chain(contexts.trees().into_values()).collect();
    let settling = executor.clone();
    let solver = Arc::new(Solver {
        store: store.clone(),
        graph,
        images: bases.snapshots(),
        context,
        named: contexts.trees(),
        client: client.clone(),
        executor,
        accepts: sandbox::accepts(builder.isolation),
        limits: builder.limits,
        secrets: builder.secrets,
        ssh,
        explains: builder.explain,
        platform: platform.clone(),
        sink: builder.sink.clone(),
        readers: Arc::new(Readers::new(store.clone())),
        piles: Piles::default(),
        slots: Slots::default(),
    });
    let solved = solver.clone().solve().await;
    // Digests of files that did not change are good for the next build, however this one ended.
    let kept = blocking(move || trees.iter().try_for_each(|tree| Ok(tree.save()?))).await;
    if let Err(error) = kept {
        tracing::warn!("the digests of the context's files are not kept: {error}");
    }
    if let Some(executor) = settling {
        executor.settle().await;
    }
    let solved = solved.map_err(|Failed { step, error }| {
        let (line, instruction) = locations[step].clone();
        let at = Location { file: file.clone(), line };
        match error {
            StepError::Status(status) => Error::Command { at, command: instruction, status },
            error => Error::Step { at, instruction, source: Box::new(error) },
        }
    })?;
    let (origins, bases) = (bases.origins(), bases.snapshots());
    Ok(Export {
        store,
        solved,
        target,
        config,
        history,
        origins,
        bases,
        epoch,
        tags,
        platform: image_platform,
        sink: builder.sink,
    })
}

/// The sockets of the SSH agents.
fn agents(agents: &BTreeMap<String, SshAgent>) -> Result<BTreeMap<String, PathBuf>, Error> {
    let socket = |(id, agent): (&String, &SshAgent)| match agent.socket() {
        Ok(socket) => Ok((id.clone(), socket)),
        Err(source) => Err(Error::SshAgent { id: id.clone(), source }),
    };
    agents.iter().map(socket).collect()
}

/// The builder's own value, else the build argument of that name, which is how docker takes it.
fn source_date_epoch(builder: &Builder) -> Result<Option<i64>, Error> {
    let argument = builder.args.get(SOURCE_DATE_EPOCH).filter(|value| !value.is_empty());
    match (builder.source_date_epoch, argument) {
        (Some(seconds), _) => Ok(Some(seconds)),
        (None, None) => Ok(None),
        (None, Some(value)) => value.parse().map(Some).map_err(|_| Error::SourceDateEpoch { value: value.clone() }),
    }
}

/// Runs what blocks off the async workers.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Error::Cancelled),
    }
}
