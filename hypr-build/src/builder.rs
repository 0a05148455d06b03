//! [`Builder`]: everything a build can be asked for, and the one verb that does it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    io::Read,
    num::NonZeroU64,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    error::Error,
    executor::{Executor, Limits, Network},
    kernel::KernelSource,
    plan::{BuildArgs, CacheUse, Outline},
    progress::{ProgressSink, Silent},
    secret::Secret,
    session::{self, BuiltImage, CheckReport, Targets, Verified},
    ssh::SshAgent,
};

/// Describes a build; nothing happens until [`build`](Self::build).
///
/// ```no_run
/// # async fn example() -> Result<(), hypr_build::Error> {
/// let image = hypr_build::Builder::new("./app").tag("app:1").build_arg("VERSION", "1.2").build().await?;
/// println!("{}", image.digest());
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct Builder {
    pub(crate) context: ContextSource,
    pub(crate) dockerfile: DockerfileSource,
    pub(crate) store: Option<PathBuf>,
    pub(crate) tags: Vec<String>,
    pub(crate) target: Option<String>,
    pub(crate) args: BuildArgs,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) contexts: BTreeMap<String, String>,
    pub(crate) platform: Option<String>,
    pub(crate) cache: CacheUse,
    pub(crate) isolation: Isolation,
    pub(crate) kernel: KernelSource,
    pub(crate) executor: Option<Arc<dyn Executor>>,
    pub(crate) network: Network,
    pub(crate) limits: Limits,
    pub(crate) secrets: BTreeMap<String, Secret>,
    pub(crate) ssh: BTreeMap<String, SshAgent>,
    pub(crate) explain: bool,
    pub(crate) source_date_epoch: Option<i64>,
    pub(crate) sink: Arc<dyn ProgressSink>,
}

/// Where each `RUN` runs, when the builder chooses the executor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isolation {
    /// A microVM where one can run, else namespaces; [`Event::Planned`](crate::Event::Planned) says which and why.
    #[default]
    Auto,
    /// A microVM, never anything else.
    Vm,
    /// Linux namespaces on the host's kernel.
    Namespace,
}

/// Where the files come from.
pub(crate) enum ContextSource {
    /// There are none.
    None,
    Directory(PathBuf),
    Tar(Box<dyn Read + Send>),
}

/// Where the Dockerfile comes from.
#[derive(Clone)]
pub(crate) enum DockerfileSource {
    /// `Dockerfile` in the context.
    Default,
    Path(PathBuf),
    Text(Vec<u8>),
}

impl Builder {
    /// A build of the `Dockerfile` in the directory `context`, with the files there.
    ///
    /// The context may also be the URL of a tar archive or of a Dockerfile, or a git repository:
    /// `https://host/repository.git#branch:folder`, `ssh://...`, `git@host:path`.
    pub fn new(context: impl Into<PathBuf>) -> Self {
        Self::with(ContextSource::Directory(context.into()), DockerfileSource::Default)
    }

    /// A build of the `Dockerfile` in a tar stream (plain or compressed), with the files there.
    pub fn from_tar(archive: impl Read + Send + 'static) -> Self {
        Self::with(ContextSource::Tar(Box::new(archive)), DockerfileSource::Default)
    }

    /// A build of the Dockerfile `text`, without files.
    pub fn from_dockerfile(text: impl Into<Vec<u8>>) -> Self {
        Self::with(ContextSource::None, DockerfileSource::Text(text.into()))
    }

    fn with(context: ContextSource, dockerfile: DockerfileSource) -> Self {
        Self {
            context,
            dockerfile,
            store: None,
            tags: Vec::new(),
            target: None,
            args: BuildArgs::new(),
            labels: BTreeMap::new(),
            contexts: BTreeMap::new(),
            platform: None,
            cache: CacheUse::All,
            isolation: Isolation::default(),
            kernel: KernelSource::from_environment(),
            executor: None,
            network: Network::default(),
            limits: Limits::default(),
            secrets: BTreeMap::new(),
            ssh: BTreeMap::new(),
            explain: false,
            source_date_epoch: None,
            sink: Arc::new(Silent),
        }
    }

    /// Takes the Dockerfile from the file `path`, which need not be in the context.
    pub fn dockerfile(mut self, path: impl Into<PathBuf>) -> Self {
        self.dockerfile = DockerfileSource::Path(path.into());
        self
    }

    /// Takes the Dockerfile from memory.
    pub fn dockerfile_text(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.dockerfile = DockerfileSource::Text(text.into());
        self
    }

    /// The root of the store. By default `$HYPR_ROOT`, then `/var/lib/hypr` for root and `$XDG_DATA_HOME/hypr` for
    /// everybody else.
    pub fn store(mut self, root: impl Into<PathBuf>) -> Self {
        self.store = Some(root.into());
        self
    }

    /// Names the image; may be called several times.
    pub fn tag(mut self, name: impl Into<String>) -> Self {
        self.tags.push(name.into());
        self
    }

    /// Builds this stage (by name, or by number from 0) instead of the last one.
    pub fn target(mut self, stage: impl Into<String>) -> Self {
        self.target = Some(stage.into());
        self
    }

    /// Gives the `ARG` `name` a value.
    pub fn build_arg(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.args.insert(name.into(), value.into());
        self
    }

    /// Adds a label to the image; it wins over the Dockerfile's.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// Gives `FROM name` and `COPY --from=name` a source: a directory, `oci-layout://PATH[:TAG]`,
    /// `docker-image://NAME`, the URL of a file, or a git repository.
    pub fn build_context(mut self, name: impl Into<String>, source: impl Into<String>) -> Self {
        self.contexts.insert(name.into(), source.into());
        self
    }

    /// The platform of base images and of the result, such as `linux/amd64`. By default the host's.
    pub fn platform(mut self, platform: impl Into<String>) -> Self {
        self.platform = Some(platform.into());
        self
    }

    /// Carries out every step, whatever the cache has.
    pub fn no_cache(mut self) -> Self {
        self.cache = CacheUse::None;
        self
    }

    /// Carries out every step of one stage; may be called several times.
    pub fn no_cache_for(mut self, stage: impl AsRef<str>) -> Self {
        let stage = stage.as_ref().to_ascii_lowercase();
        match &mut self.cache {
            CacheUse::None => {}
            CacheUse::Except(stages) => {
                stages.insert(stage);
            }
            CacheUse::All => self.cache = CacheUse::Except(BTreeSet::from([stage])),
        }
        self
    }

    /// Where each `RUN` runs.
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = isolation;
        self
    }

    /// The kernel that microVMs boot. By default the one that `HYPR_KERNEL` names, else one of the store, else the
    /// newest that is installed.
    pub fn guest_kernel(mut self, kernel: KernelSource) -> Self {
        self.kernel = kernel;
        self
    }

    /// Runs each `RUN` with `executor` instead of one of hypr's own.
    pub fn executor(mut self, executor: impl Executor + 'static) -> Self {
        self.executor = Some(Arc::new(executor));
        self
    }

    /// The network of each `RUN`; none by default.
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// Bytes of memory that each `RUN` may use; 0 is no limit.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.limits.memory = NonZeroU64::new(bytes);
        self
    }

    /// Everything that each `RUN` may use.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Wall time that each `RUN` may take.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.limits.timeout = Some(timeout);
        self
    }

    /// Gives `RUN --mount=type=secret,id=ID` a secret. It is in no cache key, layer, history or log: output that holds
    /// one of 8 bytes or more shows `*****` instead, and a step that writes one into the image fails.
    pub fn secret(mut self, id: impl Into<String>, secret: Secret) -> Self {
        self.secrets.insert(id.into(), secret);
        self
    }

    /// Lets `RUN --mount=type=ssh,id=ID` ask an SSH agent of the host. The agent called `default` is also asked for git
    /// repositories that are fetched over SSH, which are otherwise fetched as the user's own `ssh` is set up. No agent is
    /// in any cache key.
    pub fn ssh(mut self, id: impl Into<String>, agent: SshAgent) -> Self {
        self.ssh.insert(id.into(), agent);
        self
    }

    /// Tells of each step that is carried out why the cache did not have it: [`Event::Explained`] names the first input
    /// that differs from the closest earlier record.
    ///
    /// [`Event::Explained`]: crate::Event::Explained
    pub fn explain(mut self) -> Self {
        self.explain = true;
        self
    }

    /// Seconds since 1970 that no time in the image is later than, and that the image was created.
    ///
    /// It is in no cache key. The build argument `SOURCE_DATE_EPOCH` sets it too.
    pub fn source_date_epoch(mut self, seconds: i64) -> Self {
        self.source_date_epoch = Some(seconds);
        self
    }

    /// Who is told what happens.
    pub fn progress(mut self, sink: impl ProgressSink + 'static) -> Self {
        self.sink = Arc::new(sink);
        self
    }

    /// Builds the image into the store.
    ///
    /// Needs a tokio runtime with I/O and time enabled. Dropping the future stops what runs and leaves nothing behind
    /// but finished steps in the cache.
    ///
    /// # Errors
    /// See [`Error`]. A failed build changes no name.
    pub async fn build(self) -> Result<BuiltImage, Error> {
        session::build(self).await
    }
}

/// Other ways of building.
impl Builder {
    /// Builds twice, without the cache and in two stores, and tells in which paths the two images differ. If in none, the
    /// image gets its names; else it is dropped.
    ///
    /// Times are compared too, and a `RUN` sets them: without a
    /// [`source_date_epoch`](Self::source_date_epoch) few images are the same.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub async fn verify(self) -> Result<Verified, Error> {
        session::verify(self).await
    }

    /// The same build once more, but for a context that is a stream.
    pub(crate) fn twin(&self) -> Self {
        Self {
            context: match &self.context {
                ContextSource::Directory(path) => ContextSource::Directory(path.clone()),
                ContextSource::None | ContextSource::Tar(_) => ContextSource::None,
            },
            dockerfile: self.dockerfile.clone(),
            store: self.store.clone(),
            tags: self.tags.clone(),
            target: self.target.clone(),
            args: self.args.clone(),
            labels: self.labels.clone(),
            contexts: self.contexts.clone(),
            platform: self.platform.clone(),
            cache: self.cache.clone(),
            isolation: self.isolation,
            kernel: self.kernel.clone(),
            executor: self.executor.clone(),
            network: self.network,
            limits: self.limits.clone(),
            secrets: self.secrets.clone(),
            ssh: self.ssh.clone(),
            explain: self.explain,
            source_date_epoch: self.source_date_epoch,
            sink: self.sink.clone(),
        }
    }

    /// Carries out every step that the cache does not have, and makes no image: what the steps came to stays in the
    /// cache, and nothing is copied into a squashfs file. Tags are not used, though they must be well formed.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub async fn solve(self) -> Result<(), Error> {
        session::solve(self).await.map(drop)
    }
}

/// Questions that are answered without building; nothing is fetched for them.
impl Builder {
    /// What the build checks find: in all stages, or in those that the target needs if one is named.
    ///
    /// # Errors
    /// Fails as [`build`](Self::build) does before the first step; what is wrong with the stages is in the report.
    pub async fn check(self) -> Result<CheckReport, Error> {
        session::check(self).await
    }

    /// The build arguments and secrets that the target takes.
    ///
    /// # Errors
    /// As [`check`](Self::check), and when the Dockerfile cannot be built.
    pub async fn outline(self) -> Result<Outline, Error> {
        session::outline(self).await
    }

    /// The stages that can be built.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub async fn targets(self) -> Result<Targets, Error> {
        session::targets(self).await
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let context: &dyn fmt::Debug = match &self.context {
            ContextSource::None => &"none",
            ContextSource::Directory(path) => path,
            ContextSource::Tar(_) => &"tar stream",
        };
        let dockerfile: &Path = match &self.dockerfile {
            DockerfileSource::Default => Path::new("Dockerfile"),
            DockerfileSource::Path(path) => path,
            DockerfileSource::Text(_) => Path::new("-"),
        };
        // Values of arguments may be secrets.
        f.debug_struct("Builder")
            .field("context", context)
            .field("dockerfile", &dockerfile)
            .field("store", &self.store)
            .field("tags", &self.tags)
            .field("target", &self.target)
            .field("args", &self.args.keys())
            .field("isolation", &self.isolation)
            .finish_non_exhaustive()
    }
}
