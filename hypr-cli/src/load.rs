//! `hypr load`: images from files on this machine into the store.

use std::{io::Write, path::PathBuf};

use clap::Args;
use hypr_build::{
    image::{LayoutLocation, Platform, PullOptions, Reference, load},
    store::{Store, resolve_root},
};

use crate::{failure::Failure, interrupt};

/// The arguments of `hypr load`.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// An OCI layout directory, or an archive made by `docker save`, `skopeo` or the like, compressed or not.
    ///
    /// Where there are several images, PATH:TAG or PATH@sha256:DIGEST names one.
    #[arg(value_name = "PATH")]
    path: String,
    /// The name to give to the image; without it, those that the archive has for it.
    #[arg(short, long = "tag", value_name = "NAME")]
    tags: Vec<Reference>,
    /// Which variant of an image for several platforms.
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
    /// Print the image's id alone.
    #[arg(short, long)]
    quiet: bool,
    /// The store: by default $HYPR_ROOT, then /var/lib/hypr for root and $XDG_DATA_HOME/hypr for others.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

impl LoadArgs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        if let Some(tag) = self.tags.iter().find(|tag| tag.digest().is_some()) {
            return Err(DigestInTag(tag.to_string()).into());
        }
        let location = LayoutLocation::parse(&self.path)?;
        let store = Store::open(&resolve_root(self.root.as_deref())?)?;
        let options = PullOptions::new(self.platform.unwrap_or_else(Platform::host));
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let loaded = runtime.block_on(async {
            tokio::select! {
                loaded = load(&store, location, &self.tags, &options) => Some(loaded),
                _ = interrupt::awaited() => None,
            }
        });
        // What a thread is at when the load is given up ends at once, and takes its files with it.
        drop(runtime);
        let manifests = loaded.ok_or(Failure::Interrupted)??;
        let mut out = std::io::stdout().lock();
        for manifest in manifests {
            match &manifest.name {
                _ if self.quiet => {
                    writeln!(out, "{}", manifest.id)?;
                    break;
                }
                // Names are printed as people write them.
                Some(name) => {
                    let name = name.parse().map_or_else(|_| name.clone(), |name: Reference| name.familiar());
                    writeln!(out, "{name} {}", manifest.id)?;
                }
                None => writeln!(out, "{}", manifest.id)?,
            }
        }
        Ok(())
    }
}

/// A name to be given holds a digest, which only the image itself can decide.
#[derive(Debug)]
struct DigestInTag(String);

impl std::fmt::Display for DigestInTag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a name that is given to an image cannot have a digest: {}", self.0)
    }
}

impl std::error::Error for DigestInTag {}
