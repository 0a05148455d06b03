//! `hypr images`, `hypr image inspect`, `hypr rmi`: what is in the store.

use std::{
    collections::BTreeSet,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::{Args, Subcommand, ValueEnum};
use hypr_build::{
    image::{Manifest, Reference},
    store::{Removed, Store},
};
use serde::Serialize;

use crate::{failure::Failure, progress::size, root::RootArg, stdout};

#[derive(Debug, Args)]
pub(crate) struct ImagesArgs {
    /// How to print the list
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Print ids alone
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    root: RootArg,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Print everything there is to know about an image, as JSON
    Inspect {
        /// A name, or the beginning of an id
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        root: RootArg,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RmiArgs {
    /// Names, or beginnings of ids
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Do not mind images that are not there; remove an image by id with all its names
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    root: RootArg,
}

/// A row of the list, as JSON has it.
#[derive(Debug, Serialize)]
struct Row<'a> {
    name: Option<String>,
    id: String,
    created: Option<&'a str>,
    size: u64,
    digest: String,
    path: String,
    platform: String,
}

impl ImagesArgs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let images = self.root.look()?.map_or(Ok(Vec::new()), |store| store.images())?;
        let named: BTreeSet<_> =
            images.iter().filter(|image| image.name.is_some()).map(|image| image.manifest.id).collect();
        let rows: Vec<Row<'_>> = images
            .iter()
            // An image that was built once with a name and once without is the one with the name.
            .filter(|image| image.name.is_some() || !named.contains(&image.manifest.id))
            .map(|image| Row {
                name: image.name.as_ref().map(Reference::familiar),
                id: image.manifest.id.to_string(),
                created: image.manifest.created.as_deref(),
                size: image.manifest.squashfs.size,
                digest: format!("blake3:{}", image.manifest.squashfs.digest),
                path: image.manifest.squashfs.path.display().to_string(),
                platform: image.manifest.platform.to_string(),
            })
            .collect();
        if self.quiet {
            let mut ids: Vec<&str> = Vec::new();
            for row in &rows {
                // An image with several names is one image.
                if !ids.contains(&row.id.as_str()) {
                    ids.push(&row.id);
                }
            }
            return ids.into_iter().try_for_each(stdout::line);
        }
        match self.format {
            Format::Json => stdout::line(&serde_json::to_string_pretty(&rows)?),
            Format::Table => stdout::bytes(table(&rows).as_bytes()),
        }
    }
}

impl ImageCommand {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Inspect { name, root } => {
                let manifest = root.look()?.map_or(Err(no_image(&name)), |store| find(&store, &name))?;
                stdout::line(&serde_json::to_string_pretty(&manifest)?)
            }
        }
    }
}

impl RmiArgs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let store = self.root.open()?;
        let mut missing = Vec::new();
        for name in &self.names {
            let removed = match &store {
                Some(store) => remove(store, name, self.force)?,
                None => None,
            };
            match removed {
                Some(Removed { untagged, deleted }) => {
                    for name in untagged {
                        stdout::line(&format!("untagged: {}", name.familiar()))?;
                    }
                    for id in deleted {
                        stdout::line(&format!("deleted: {id}"))?;
                    }
                }
                None => missing.push(name.as_str()),
            }
        }
        match missing.is_empty() || self.force {
            true => Ok(()),
            false => Err(no_image(&missing.join("`, `"))),
        }
    }
}

/// Names go before ids, as docker has it.
fn remove(store: &Store, name: &str, force: bool) -> Result<Option<Removed>, Failure> {
    if let Ok(reference) = name.parse::<Reference>()
        && let Some(removed) = store.untag(&reference)?
    {
        return Ok(Some(removed));
    }
    let Some(manifest) = by_id(store, name)? else { return Ok(None) };
    Ok(Some(if force { store.remove_image_and_names(&manifest.id)? } else { store.remove_image(&manifest.id)? }))
}

fn find(store: &Store, name: &str) -> Result<Manifest, Failure> {
    if let Ok(reference) = name.parse::<Reference>()
        && let Some(manifest) = store.resolve(&reference)?
    {
        return Ok(manifest);
    }
    by_id(store, name)?.ok_or_else(|| no_image(name))
}

fn by_id(store: &Store, name: &str) -> Result<Option<Manifest>, Failure> {
    let digits = name.strip_prefix("sha256:").unwrap_or(name);
    let is_id = !digits.is_empty() && digits.len() <= 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id { Ok(store.image_by_id(name)?) } else { Ok(None) }
}

fn no_image(name: &str) -> Failure {
    Failure::message(format!("there is no image `{name}` in the store; `hypr images` lists what there is"))
}

fn table(rows: &[Row<'_>]) -> String {
    let header = ["NAME", "ID", "CREATED", "SIZE"].map(str::to_owned);
    let cells: Vec<[String; 4]> = rows
        .iter()
        .map(|row| {
            let id = row.id.strip_prefix("sha256:").unwrap_or(&row.id).chars().take(12).collect();
            let name = row.name.clone().unwrap_or_else(|| "<none>".to_owned());
            [name, id, row.created.map_or_else(String::new, age), size(row.size)]
        })
        .collect();
    let widths: Vec<usize> =
        (0..4).map(|at| cells.iter().chain([&header]).map(|row| row[at].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in [&header].into_iter().chain(&cells) {
        let line: Vec<String> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        text.push_str(line.join("   ").trim_end());
        text.push('\n');
    }
    text
}

/// How long ago, in one unit.
fn age(created: &str) -> String {
    let Ok(created) = created.parse::<hypr_build::store::Timestamp>() else { return created.to_owned() };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let seconds = i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(created.0).max(0);
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86400 => (seconds / 3600, "hour"),
        _ => (seconds / 86400, "day"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}
