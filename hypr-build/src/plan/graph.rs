//! The build graph: steps with every value expanded, in an order in which each comes after its inputs.

use std::collections::{BTreeMap, BTreeSet};

use super::mode::Mode;
use crate::{
    executor::Network,
    image::Platform,
    progress::StepInfo,
    remote::{Location, Wanted},
};

/// `--chmod`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chmod {
    /// As written, variables expanded.
    pub(crate) written: String,
    pub(crate) mode: Mode,
}

/// Identifies a step within its graph: its place in [`Graph::steps`].
pub(crate) type StepId = usize;

/// What the target needs, and nothing else.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// Each after the steps that it needs.
    pub(crate) steps: Vec<Step>,
    /// The images that steps start from or copy out of.
    pub(crate) images: BTreeSet<ImageRequest>,
}

/// An image that a step starts from or copies out of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ImageRequest {
    /// As the Dockerfile names it, variables expanded.
    pub(crate) name: String,
    pub(crate) platform: Platform,
}

/// Where a tree comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// `FROM scratch`: no layers.
    Scratch,
    /// An image.
    Image(ImageRequest),
    /// What a step left.
    Step(StepId),
}

/// One node of the build graph.
#[derive(Debug)]
pub(crate) struct Step {
    /// How events and errors name it.
    pub(crate) info: StepInfo,
    /// What it sees as `/`.
    pub(crate) parent: Origin,
    /// What it does.
    pub(crate) operation: Operation,
    /// Not to be looked up in the cache (`--no-cache`, `--no-cache-filter`).
    pub(crate) uncached: bool,
}

impl Step {
    /// The steps this one waits for.
    pub(crate) fn needs(&self) -> impl Iterator<Item = StepId> {
        [&self.parent].into_iter().chain(self.operation.trees()).filter_map(|origin| match origin {
            Origin::Step(id) => Some(*id),
            Origin::Scratch | Origin::Image(_) => None,
        })
    }
}

/// What a step does to the tree it stands on.
#[derive(Debug)]
pub(crate) enum Operation {
    Run(Run),
    Copy(Copy),
    Workdir(Workdir),
}

impl Operation {
    /// The trees that it takes files from.
    fn trees(&self) -> impl Iterator<Item = &Origin> {
        let (copy, mounts) = match self {
            Self::Copy(copy) => (Some(&copy.from), &[][..]),
            Self::Run(run) => (None, &run.mounts[..]),
            Self::Workdir(_) => (None, &[][..]),
        };
        let files = copy.into_iter().chain(mounts.iter().filter_map(Mount::files));
        files.filter_map(|files| match files {
            Files::Tree(origin) => Some(origin),
            Files::Context | Files::Named(_) => None,
        })
    }

    fn trees_mut(&mut self) -> Vec<&mut Origin> {
        let files = match self {
            Self::Copy(copy) => vec![&mut copy.from],
            Self::Run(run) => run.mounts.iter_mut().filter_map(Mount::files_mut).collect(),
            Self::Workdir(_) => Vec::new(),
        };
        let tree = |files| match files {
            &mut Files::Tree(ref mut origin) => Some(origin),
            Files::Context | Files::Named(_) => None,
        };
        files.into_iter().filter_map(tree).collect()
    }
}

/// `RUN`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Program and arguments, the shell included.
    pub(crate) args: Vec<String>,
    /// A script that the program reads, from a heredoc that begins with `#!`.
    pub(crate) script: Option<Script>,
    /// The whole environment, `NAME` to value, in the order of declaration.
    pub(crate) env: Vec<(String, String)>,
    /// More of it that no key holds: proxies that no `ARG` declares.
    pub(crate) unkeyed: Vec<(String, String)>,
    /// Absolute.
    pub(crate) cwd: String,
    /// As `USER` has it.
    pub(crate) user: String,
    pub(crate) network: Network,
    /// One inside of another comes after it.
    pub(crate) mounts: Vec<Mount>,
    /// For messages: what the Dockerfile says.
    pub(crate) command: String,
}

/// `RUN --mount`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Absolute. Empty for a secret that is only a variable, and for an agent's socket in its usual place.
    pub(crate) target: String,
    pub(crate) kind: MountKind,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MountKind {
    Bind {
        from: Files,
        source: String,
        writable: bool,
    },
    Cache {
        id: String,
        /// What a new cache starts with; nothing by default.
        from: Option<Files>,
        source: String,
        sharing: Sharing,
        read_only: bool,
        mode: u32,
        uid: u32,
        gid: u32,
    },
    Tmpfs {
        size: Option<u64>,
    },
    Secret {
        id: String,
        required: bool,
        /// The variable that holds it.
        env: Option<String>,
        mode: u32,
        uid: u32,
        gid: u32,
    },
    Ssh {
        id: String,
        required: bool,
        mode: u32,
        uid: u32,
        gid: u32,
    },
}

/// Who may use a cache at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Everybody.
    Shared,
    /// Everybody, but the changes of one alone are kept.
    Private,
    /// One after another.
    Locked,
}

impl Mount {
    fn files(&self) -> Option<&Files> {
        match &self.kind {
            MountKind::Bind { from, .. } => Some(from),
            MountKind::Cache { from, .. } => from.as_ref(),
            MountKind::Tmpfs { .. } | MountKind::Secret { .. } | MountKind::Ssh { .. } => None,
        }
    }

    /// Whether an SSH agent is mounted.
    pub(super) fn is_ssh(&self) -> bool {
        matches!(self.kind, MountKind::Ssh { .. })
    }

    fn files_mut(&mut self) -> Option<&mut Files> {
        match &mut self.kind {
            MountKind::Bind { from, .. } => Some(from),
            MountKind::Cache { from, .. } => from.as_mut(),
            MountKind::Tmpfs { .. } | MountKind::Secret { .. } | MountKind::Ssh { .. } => None,
        }
    }
}

/// The body of a heredoc that is a program of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Script {
    /// Where the process finds it, below `/dev`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// `COPY` and `ADD`.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) from: Files,
    /// As written, variables expanded.
    pub(crate) sources: Vec<String>,
    /// Those of the sources that are on the network.
    pub(crate) remotes: BTreeMap<String, Location>,
    /// What the remote ones are checked against, and what they are to bring.
    pub(crate) wanted: Wanted,
    /// Files given in the Dockerfile itself: name to content.
    pub(crate) inline: Vec<(String, Vec<u8>)>,
    /// Absolute; ends with a slash where the Dockerfile says that it is a directory.
    pub(crate) destination: String,
    pub(crate) chown: Option<String>,
    pub(crate) chmod: Option<Chmod>,
    /// What is left out, relative to each source.
    pub(crate) exclude: Vec<String>,
    /// `--link`: the layer does not look at what it stands on.
    pub(crate) link: bool,
    /// `--parents`: the sources' own paths are kept in the destination.
    pub(crate) parents: bool,
    /// Whether archives are unpacked; `ADD` does so with those of the context.
    pub(crate) unpack: Unpack,
}

/// Which archives among the sources are unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Unpack {
    /// Those of the context.
    pub(crate) local: bool,
    /// Those that come from a URL.
    pub(crate) remote: bool,
}

/// Where `COPY` takes its files from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Files {
    /// The build context.
    Context,
    /// A directory given with `--build-context`.
    Named(String),
    /// Another stage or an image.
    Tree(Origin),
}

/// `WORKDIR`: the directory exists afterwards.
#[derive(Debug)]
pub(crate) struct Workdir {
    /// Absolute.
    pub(crate) path: String,
    /// Whom a new directory belongs to, as `USER` has it.
    pub(crate) user: String,
}

impl Graph {
    /// Whether anything has to be run.
    pub(crate) fn has_run(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.operation, Operation::Run(_)))
    }

    /// The line of a step that is to have the host's network.
    pub(crate) fn needs_network(&self) -> Option<usize> {
        let needs = |step: &&Step| matches!(&step.operation, Operation::Run(run) if run.network == Network::Host);
        self.steps.iter().find(needs).map(|step| step.info.line)
    }

    /// Adds `step` and returns its id.
    pub(crate) fn push(&mut self, step: Step) -> StepId {
        self.steps.push(step);
        self.steps.len() - 1
    }

    /// Keeps the steps that `origin` needs, numbers them anew, and returns what `origin` is then and each step's new
    /// number.
    ///
    /// Equal steps on equal inputs need no merging here: they have one key, and a key is solved once.
    pub(crate) fn prune(&mut self, mut origin: Origin) -> (Origin, BTreeMap<StepId, StepId>) {
        let mut needed = vec![false; self.steps.len()];
        let mut open: Vec<StepId> = match &origin {
            Origin::Step(id) => vec![*id],
            Origin::Scratch | Origin::Image(_) => Vec::new(),
        };
        while let Some(id) = open.pop() {
            if !std::mem::replace(&mut needed[id], true) {
                open.extend(self.steps[id].needs());
            }
        }
        let mut renumbered = BTreeMap::new();
        let steps = std::mem::take(&mut self.steps);
        for (id, mut step) in steps.into_iter().enumerate().filter(|(id, _)| needed[*id]) {
            renumbered.insert(id, self.steps.len());
            step.info.id = self.steps.len();
            renumber(&mut step.parent, &renumbered);
            for origin in step.operation.trees_mut() {
                renumber(origin, &renumbered);
            }
            self.steps.push(step);
        }
        self.images = self.images_in_use(&origin);
        renumber(&mut origin, &renumbered);
        (origin, renumbered)
    }

    fn images_in_use(&self, target: &Origin) -> BTreeSet<ImageRequest> {
        let sources = self.steps.iter().flat_map(|step| step.operation.trees());
        let parents = self.steps.iter().map(|step| &step.parent);
        parents
            .chain(sources)
            .chain([target])
            .filter_map(|origin| match origin {
                Origin::Image(request) => Some(request.clone()),
                Origin::Scratch | Origin::Step(_) => None,
            })
            .collect()
    }
}

fn renumber(origin: &mut Origin, renumbered: &BTreeMap<StepId, StepId>) {
    if let Origin::Step(id) = origin {
        *id = renumbered[id];
    }
}
