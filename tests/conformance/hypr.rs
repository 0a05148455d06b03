//! Builds cases with hypr, through its library: one store and one set of base images for all of them.

use std::{
    collections::BTreeMap,
    error::Error,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use hypr_build::{Builder, Isolation};
use hypr_squash::{Kind, Overlay, Reader, Special};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{
    Build, Outcome, Shared, bases,
    case::Case,
    entry::{self, line},
    peer,
    served::Served,
};

pub(crate) struct Hypr {
    folder: TempDir,
    bases: Vec<(&'static str, PathBuf)>,
    runtime: Runtime,
    /// The tree of busybox by path: what an image has of it is not listed.
    base: OnceLock<BTreeMap<String, String>>,
}

/// The one for all groups that run.
pub(crate) fn shared() -> Arc<Hypr> {
    static SHARED: Shared<Hypr> = Shared::new();
    SHARED.get(|| {
        let folder = TempDir::with_prefix("hypr-conformance-").expect("a temporary folder");
        let bases = bases::write(folder.path());
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        Hypr { folder, bases, runtime, base: OnceLock::new() }
    })
}

impl Build for Hypr {
    fn passes_over(&self, _: &Case) -> Option<String> {
        None
    }

    fn build(&self, case: &Case) -> Result<Outcome, String> {
        let folder = TempDir::with_prefix_in("case-", self.folder.path()).expect("a folder");
        let context = folder.path().join("context");
        case.write_context(&context);
        let mut builder = self.builder(&context);
        let served = Served::start(case, folder.path());
        for (name, url) in served.addresses() {
            builder = builder.build_arg(name, url);
        }
        for option in &case.options {
            builder = with_option(builder, option, &context);
        }
        let image = self.runtime.block_on(builder.build()).map_err(|error| told(&error))?;
        let mut tree = list(image.path());
        let base = self.base.get_or_init(|| self.busybox());
        peer::without_base(&mut tree, base);
        let config = serde_json::from_slice(&image.manifest().config.to_bytes()).expect("the configuration is JSON");
        Ok(Outcome { tree: tree.into_values().collect(), config })
    }
}

impl Hypr {
    fn builder(&self, context: &Path) -> Builder {
        let mut builder = Builder::new(context).store(self.folder.path().join("store")).isolation(Isolation::Namespace);
        for (name, layout) in &self.bases {
            builder = builder.build_context(*name, format!("oci-layout://{}", layout.display()));
        }
        builder
    }

    fn busybox(&self) -> BTreeMap<String, String> {
        let builder = self.builder(self.folder.path()).dockerfile_text("FROM busybox\n");
        let image = self.runtime.block_on(builder.build()).unwrap_or_else(|error| panic!("{}", told(&error)));
        list(image.path())
    }
}

/// One line of `options.txt`.
fn with_option(builder: Builder, option: &str, context: &Path) -> Builder {
    let (name, value) = option.split_once(' ').unwrap_or((option, ""));
    let pair = || value.split_once('=').unwrap_or((value, ""));
    match name {
        "--build-arg" => builder.build_arg(pair().0, pair().1),
        "--label" => builder.label(pair().0, pair().1),
        "--target" => builder.target(value),
        "--platform" => builder.platform(value),
        "--file" => builder.dockerfile(context.join(value)),
        // A folder of the context, or another source as it is.
        "--build-context" => {
            let (name, source) = pair();
            match source.contains("://") {
                true => builder.build_context(name, source),
                false => builder.build_context(name, context.join(source).display().to_string()),
            }
        }
        _ => panic!("there is no option {option:?}"),
    }
}

/// An error with its causes and the lines it points at.
fn told(error: &hypr_build::Error) -> String {
    let first: &dyn Error = error;
    let causes = std::iter::successors(Some(first), |error| (*error).source());
    let mut text: String = causes.map(|error| format!("{error}\n")).collect();
    text.push_str(&error.excerpt().unwrap_or_default());
    text
}

/// The lines of an image by path.
fn list(squashfs: &Path) -> BTreeMap<String, String> {
    let reader = Reader::open(File::open(squashfs).expect("the image")).expect("a squashfs image");
    let overlay = Overlay::new(vec![Arc::new(reader)]);
    let mut first_names = BTreeMap::new();
    let mut lines = BTreeMap::new();
    for visit in overlay.walk() {
        let (path, node) = visit.expect("a readable image");
        let path = format!("/{}", String::from_utf8_lossy(&path).trim_start_matches('/'));
        let metadata = node.metadata().expect("readable metadata");
        let kind = match node.kind().expect("a readable inode") {
            Kind::Directory => entry::Kind::Directory,
            Kind::Symlink { target } => entry::Kind::Symlink(String::from_utf8_lossy(&target).into_owned()),
            Kind::Special(Special::Fifo) => entry::Kind::Fifo,
            Kind::Special(_) => entry::Kind::Other("special"),
            Kind::File { .. } => {
                let same = node.identity().and_then(|id| first_names.insert(id, path.clone()).map(|first| (id, first)));
                match same {
                    Some((id, first)) => {
                        first_names.insert(id, first.clone());
                        entry::Kind::Same(first)
                    }
                    None => {
                        let mut content = Vec::new();
                        node.open().expect("a file").read_to_end(&mut content).expect("a readable file");
                        entry::Kind::File(content)
                    }
                }
            }
        };
        let text = line(&path, metadata.mode.into(), (metadata.uid, metadata.gid), &kind);
        if path != "/" {
            lines.insert(path, text);
        }
    }
    lines
}
