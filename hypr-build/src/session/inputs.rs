//! What a build reads from outside: the Dockerfile, the context, and the named contexts.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::blocking;
use crate::{
    builder::{Builder, ContextSource, DockerfileSource},
    context::{self, BadPattern, Context, Filter, Ignore, Layers, MAX_DOCKERFILE, Streamed, Tree},
    dockerfile::{self, Dockerfile},
    error::Error,
    image::LayoutLocation,
    plan::ContextKind,
    remote::{self, Client, Fetched, Location, Wanted, hide_password},
    store::Store,
};

/// Everything read.
pub(super) struct Inputs {
    pub(super) dockerfile: Dockerfile,
    /// The Dockerfile's name in messages.
    pub(super) file: String,
    pub(super) context: Option<Arc<dyn Tree>>,
    /// What the context leaves out.
    pub(super) ignore: Option<Arc<Ignore>>,
    pub(super) contexts: NamedContexts,
}

/// The named contexts of a build.
#[derive(Debug, Default)]
pub(super) struct NamedContexts(pub(super) BTreeMap<String, NamedContext>);

/// Where a named context comes from.
#[derive(Debug, Clone)]
pub(super) enum NamedContext {
    Directory(Arc<dyn Tree>),
    Layout(LayoutLocation),
    /// An image by another name.
    Image(String),
}

impl NamedContexts {
    pub(super) fn kinds(&self) -> BTreeMap<String, ContextKind> {
        let kind = |context: &NamedContext| match context {
            NamedContext::Directory(_) => ContextKind::Directory,
            NamedContext::Layout(_) | NamedContext::Image(_) => ContextKind::Image,
        };
        self.0.iter().map(|(name, context)| (name.clone(), kind(context))).collect()
    }

    pub(super) fn trees(&self) -> BTreeMap<String, Arc<dyn Tree>> {
        let tree = |(name, context): (&String, &NamedContext)| match context {
            NamedContext::Directory(tree) => Some((name.clone(), tree.clone())),
            NamedContext::Layout(_) | NamedContext::Image(_) => None,
        };
        self.0.iter().filter_map(tree).collect()
    }
}

/// A context once what is on the network is here.
enum Opened {
    None,
    Directory(PathBuf),
    Tar(Box<dyn Read + Send>),
    Files(Layers),
}

/// Where a build's files come from.
pub(super) struct Sources {
    context: ContextSource,
    dockerfile: DockerfileSource,
    contexts: BTreeMap<String, String>,
    /// Whether a context that is a git repository has its `.git`.
    keep_git_dir: bool,
}

impl Sources {
    /// Takes them out of a builder.
    pub(super) fn of(builder: &mut Builder) -> Self {
        let keep = builder.args.get(KEEP_GIT_DIR).map(String::as_str);
        Self {
            context: std::mem::replace(&mut builder.context, ContextSource::None),
            dockerfile: std::mem::replace(&mut builder.dockerfile, DockerfileSource::Default),
            contexts: std::mem::take(&mut builder.contexts),
            // As Go reads a boolean; what is none counts as not given.
            keep_git_dir: matches!(keep, Some("1" | "t" | "T" | "true" | "TRUE" | "True")),
        }
    }
}

/// The build argument that keeps the `.git` of a context that is a git repository.
const KEEP_GIT_DIR: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";

/// Opens the contexts and reads and parses the Dockerfile.
pub(super) async fn read(client: &Client, store: &Store, sources: Sources) -> Result<Inputs, Error> {
    let Sources { context, dockerfile, contexts, keep_git_dir } = sources;
    let context = match context {
        ContextSource::None => Opened::None,
        ContextSource::Tar(input) => Opened::Tar(input),
        ContextSource::Directory(path) => match path.to_str().map(location).transpose()?.flatten() {
            None => Opened::Directory(path),
            Some(location) => fetched(client, store, &location, &Wanted { keep_git_dir, ..Wanted::default() }).await?,
        },
    };
    let mut remote = BTreeMap::new();
    for (name, source) in &contexts {
        if let Some(location) = location(source)? {
            let fetched = fetch(client, store, &location, &Wanted::default()).await?;
            remote.insert(name.clone(), NamedContext::Directory(Arc::new(fetched.tree)));
        }
    }
    let store = store.clone();
    blocking(move || {
        let mut dockerfile = dockerfile;
        let mut folder = PathBuf::new();
        let mut is_local = false;
        // The Dockerfile and the rules are read from the whole context; what they hide is hidden from the build.
        let whole = match context {
            Opened::None => None,
            Opened::Files(layers) => Some(Context::layers(layers)),
            Opened::Directory(path) => {
                is_local = true;
                let context = Context::directory(&path, Some(&store))?;
                folder = path;
                Some(context)
            }
            Opened::Tar(input) => match context::receive(input, &store)? {
                Streamed::Context(context) => Some(context),
                Streamed::Dockerfile(text) => {
                    dockerfile = DockerfileSource::Text(text);
                    None
                }
            },
        };
        let Text { file, bytes, ignore } = text(dockerfile, whole.as_ref(), &folder, is_local)?;
        let dockerfile = dockerfile::parse_bytes(&bytes).map_err(|source| Error::parse(&file, source))?;
        let ignore = ignore.map(Arc::new);
        let context = whole.map(|whole| whole.into_tree(filter(ignore.clone())));
        let named = contexts.into_iter().map(|(name, source)| {
            let context = match remote.remove(&name) {
                Some(context) => context,
                None => named_context(&name, &source, &store)?,
            };
            Ok((name, context))
        });
        let contexts = NamedContexts(named.collect::<Result<_, Error>>()?);
        Ok(Inputs { dockerfile, file, context, ignore, contexts })
    })
    .await
}

/// What `source` names on the network; `None` for everything else.
fn location(source: &str) -> Result<Option<Location>, Error> {
    Location::parse(source).map_err(|reason| Error::Address { url: hide_password(source), reason })
}

async fn fetch(client: &Client, store: &Store, location: &Location, wanted: &Wanted) -> Result<Fetched, Error> {
    let fetched = remote::fetch(client, store, location, wanted).await;
    fetched.map_err(|source| Error::RemoteContext { url: location.shown(), source: Box::new(source) })
}

/// The context that is at `location`: the files of a repository, or what a URL has as standard input would have it.
async fn fetched(client: &Client, store: &Store, location: &Location, wanted: &Wanted) -> Result<Opened, Error> {
    let Fetched { tree, path, .. } = fetch(client, store, location, wanted).await?;
    match location {
        Location::Git(_) => Ok(Opened::Files(tree)),
        Location::Http(_) => {
            let opened = blocking(move || {
                let entry = tree.lookup(&path)?;
                Ok(entry.map(|entry| tree.open(&entry)).transpose()?)
            });
            Ok(opened.await?.map_or(Opened::None, Opened::Tar))
        }
    }
}

fn filter(ignore: Option<Arc<Ignore>>) -> Option<Arc<dyn Filter>> {
    ignore.filter(|ignore| !ignore.is_empty()).map(|ignore| ignore as Arc<dyn Filter>)
}

/// A Dockerfile that was read, and the ignore rules that go with it.
struct Text {
    file: String,
    bytes: Vec<u8>,
    ignore: Option<Ignore>,
}

fn text(source: DockerfileSource, context: Option<&Context>, folder: &Path, is_local: bool) -> Result<Text, Error> {
    let from_context = |name: &str| -> Result<Option<Vec<u8>>, Error> {
        match context {
            Some(context) => Ok(context.read_file(name, MAX_DOCKERFILE)?),
            None => Ok(None),
        }
    };
    // Rules beside the Dockerfile go before those of the context.
    let (file, bytes, beside) = match source {
        DockerfileSource::Text(bytes) => ("Dockerfile".to_owned(), bytes, None),
        DockerfileSource::Default => {
            let Some(bytes) = from_context("Dockerfile")? else {
                let is_link = match context {
                    Some(context) => context.has_link("Dockerfile")?,
                    None => false,
                };
                let hint = match is_link {
                    true => "it is a symbolic link that leads out of the context or to nothing; give the file with -f",
                    false => "give its path with -f",
                };
                return Err(Error::NoDockerfile { path: folder.join("Dockerfile"), hint });
            };
            let beside =
                from_context("Dockerfile.dockerignore")?.map(|rules| ("Dockerfile.dockerignore".to_owned(), rules));
            ("Dockerfile".to_owned(), bytes, beside)
        }
        DockerfileSource::Path(path) => {
            let shown = path.display().to_string();
            // A context that is no directory brings its Dockerfile along; a directory's is named from where the user
            // stands.
            let brought = match context {
                Some(context) if !is_local && path.is_relative() => {
                    context.read_file(&shown, MAX_DOCKERFILE)?.is_some()
                }
                _ => false,
            };
            match read_path(&path, MAX_DOCKERFILE)? {
                Some(bytes) if !brought => {
                    let mut rules = path.clone().into_os_string();
                    rules.push(".dockerignore");
                    let rules = PathBuf::from(rules);
                    let beside = read_path(&rules, MAX_DOCKERFILE)?.map(|bytes| (rules.display().to_string(), bytes));
                    (shown, bytes, beside)
                }
                _ => match (path.is_relative(), from_context(&shown)?) {
                    (true, Some(bytes)) => {
                        let rules = format!("{shown}.dockerignore");
                        let beside = from_context(&rules)?.map(|bytes| (rules, bytes));
                        (shown, bytes, beside)
                    }
                    _ => return Err(Error::NoDockerfile { path, hint: "check the path given with -f" }),
                },
            }
        }
    };
    let rules = match beside {
        Some(rules) => Some(rules),
        None => from_context(".dockerignore")?.map(|bytes| (".dockerignore".to_owned(), bytes)),
    };
    let ignore = rules.map(|(file, bytes)| parse_rules(file, &bytes)).transpose()?;
    Ok(Text { file, bytes, ignore })
}

fn parse_rules(file: String, bytes: &[u8]) -> Result<Ignore, Error> {
    Ignore::parse(bytes).map_err(|BadPattern { line, pattern, reason }| Error::Ignore { file, line, pattern, reason })
}

/// Reads a file of the host; `None` if there is none.
fn read_path(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Error> {
    let fail = |source| Error::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > limit {
        return Err(fail(std::io::Error::other(format!("it is larger than {limit} bytes"))));
    }
    Ok(Some(bytes))
}

/// `--build-context NAME=SOURCE`.
fn named_context(name: &str, source: &str, store: &Store) -> Result<NamedContext, Error> {
    let refuse = |reason: &str| {
        Err(Error::BuildContext { name: name.to_owned(), origin: source.to_owned(), reason: reason.to_owned() })
    };
    if let Some(image) = source.strip_prefix("docker-image://") {
        return Ok(NamedContext::Image(image.to_owned()));
    }
    if let Some(path) = source.strip_prefix("oci-layout://") {
        return Ok(NamedContext::Layout(LayoutLocation::parse(path)?));
    }
    if source.contains("://") {
        return refuse("the scheme is none of oci-layout://, docker-image://, https://, http://, git:// and ssh://");
    }
    let context = Context::directory(Path::new(source), Some(store))?;
    let rules = context.read_file(".dockerignore", MAX_DOCKERFILE)?;
    let ignore = rules.map(|rules| parse_rules(format!("{source}/.dockerignore"), &rules)).transpose()?;
    Ok(NamedContext::Directory(context.into_tree(filter(ignore.map(Arc::new)))))
}
