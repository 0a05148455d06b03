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
    builder::{ContextSource, DockerfileSource},
    context::{self, BadPattern, Context, Filter, Ignore, MAX_DOCKERFILE, Streamed, Tree},
    dockerfile::{self, Dockerfile},
    error::Error,
    image::LayoutLocation,
    plan::ContextKind,
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

/// Opens the contexts and reads and parses the Dockerfile.
pub(super) async fn read(
    store: &Store,
    context: ContextSource,
    dockerfile: DockerfileSource,
    contexts: &BTreeMap<String, String>,
) -> Result<Inputs, Error> {
    let (store, contexts) = (store.clone(), contexts.clone());
    blocking(move || {
        let mut dockerfile = dockerfile;
        let mut folder = PathBuf::new();
        // The Dockerfile and the rules are read from the whole context; what they hide is hidden from the build.
        let whole = match context {
            ContextSource::None => None,
            ContextSource::Directory(path) => {
                if let Some(url) = path.to_str().filter(|path| is_remote(path)) {
                    let reason = "contexts from the network are not supported yet; fetch it and give the directory";
                    return Err(Error::RemoteContext { url: url.to_owned(), reason });
                }
                let context = Context::directory(&path, Some(&store))?;
                folder = path;
                Some(context)
            }
            ContextSource::Tar(input) => match context::receive(input, &store)? {
                Streamed::Context(context) => Some(context),
                Streamed::Dockerfile(text) => {
                    dockerfile = DockerfileSource::Text(text);
                    None
                }
            },
        };
        let Text { file, bytes, ignore } = text(dockerfile, whole.as_ref(), &folder)?;
        let dockerfile = dockerfile::parse_bytes(&bytes).map_err(|source| Error::parse(&file, source))?;
        let ignore = ignore.map(Arc::new);
        let context = whole.map(|whole| whole.into_tree(filter(ignore.clone())));
        let named = contexts.into_iter().map(|(name, source)| {
            let context = named_context(&name, &source, &store)?;
            Ok((name, context))
        });
        let contexts = NamedContexts(named.collect::<Result<_, Error>>()?);
        Ok(Inputs { dockerfile, file, context, ignore, contexts })
    })
    .await
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

fn text(source: DockerfileSource, context: Option<&Context>, folder: &Path) -> Result<Text, Error> {
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
            let bytes = from_context("Dockerfile")?.ok_or_else(|| Error::NoDockerfile {
                path: folder.join("Dockerfile"),
                hint: "give its path with -f",
            })?;
            let beside =
                from_context("Dockerfile.dockerignore")?.map(|rules| ("Dockerfile.dockerignore".to_owned(), rules));
            ("Dockerfile".to_owned(), bytes, beside)
        }
        DockerfileSource::Path(path) => {
            let shown = path.display().to_string();
            // A tar stream brings its Dockerfile along; a directory's is named from where the user stands.
            match read_path(&path, MAX_DOCKERFILE)? {
                Some(bytes) => {
                    let mut rules = path.clone().into_os_string();
                    rules.push(".dockerignore");
                    let rules = PathBuf::from(rules);
                    let beside = read_path(&rules, MAX_DOCKERFILE)?.map(|bytes| (rules.display().to_string(), bytes));
                    (shown, bytes, beside)
                }
                None => match (path.is_relative(), from_context(&shown)?) {
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

/// Whether a context's source is somewhere on the network.
fn is_remote(source: &str) -> bool {
    ["http://", "https://", "git://", "ssh://", "git@"].iter().any(|scheme| source.starts_with(scheme))
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
    if is_remote(source) {
        return refuse("contexts from the network are not supported yet; fetch it and give the directory");
    }
    if source.contains("://") {
        return refuse("the scheme is none of oci-layout:// and docker-image://");
    }
    let context = Context::directory(Path::new(source), Some(store))?;
    let rules = context.read_file(".dockerignore", MAX_DOCKERFILE)?;
    let ignore = rules.map(|rules| parse_rules(format!("{source}/.dockerignore"), &rules)).transpose()?;
    Ok(NamedContext::Directory(context.into_tree(filter(ignore.map(Arc::new)))))
}
