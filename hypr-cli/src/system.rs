//! `hypr system df` and `hypr system prune`: what the store takes, and what of it nobody needs.

use std::{
    io::{BufRead, IsTerminal, Write},
    time::{Duration, SystemTime},
};

use clap::{Args, Subcommand, ValueEnum};
use hypr_build::store::{PruneOptions, Timestamp, UsageKind};

use crate::{build, failure::Failure, progress::size, root::RootArg, stdout};

#[derive(Debug, Subcommand)]
pub(crate) enum SystemCommand {
    /// Show how much room the store takes
    Df {
        /// How to print it
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
        #[command(flatten)]
        root: RootArg,
    },
    /// Remove the cache, images without a name, and what is left over
    Prune(PruneArgs),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Remove images with a name too
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only what has not been used for a time, or since a point in time: until=24h, until=2025-01-31T10:00:00Z
    #[arg(long = "filter", value_name = "until=TIME", value_parser = until)]
    filters: Vec<SystemTime>,
    /// Leave this much, in bytes or with a suffix, the longest unused goes first: 10g
    #[arg(long, value_name = "SIZE", value_parser = build::size_or_zero)]
    keep_storage: Option<u64>,
    #[command(flatten)]
    root: RootArg,
}

impl SystemCommand {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Df { format, root } => df(format, &root),
            Self::Prune(arguments) => arguments.run(),
        }
    }
}

fn df(format: Format, root: &RootArg) -> Result<(), Failure> {
    let rows = root.look()?.map_or(Ok(Vec::new()), |store| store.usage())?;
    if format == Format::Json {
        return stdout::line(&serde_json::to_string_pretty(&rows)?);
    }
    let mut text = format!("{:<15} {:>8} {:>10}   RECLAIMABLE\n", "TYPE", "COUNT", "SIZE");
    for row in rows {
        let share = (row.reclaimable * 100).checked_div(row.size).unwrap_or(0);
        let reclaimable = format!("{} ({share}%)", size(row.reclaimable));
        text.push_str(&format!("{:<15} {:>8} {:>10}   {reclaimable}\n", name(row.kind), row.count, size(row.size)));
    }
    stdout::bytes(text.as_bytes())
}

fn name(kind: UsageKind) -> &'static str {
    match kind {
        UsageKind::Images => "Images",
        UsageKind::ImageLayers => "Image layers",
        UsageKind::BuildCache => "Build cache",
        UsageKind::CacheMounts => "Cache mounts",
        UsageKind::Blobs => "Blobs",
        UsageKind::Helpers => "Helpers",
        _ => "Others",
    }
}

impl PruneArgs {
    fn run(self) -> Result<(), Failure> {
        if !self.force && !self.is_confirmed()? {
            return Err(Failure::message("nothing was removed"));
        }
        let root = self.root.path()?;
        if !root.exists() {
            return stdout::line("Total reclaimed space: 0 B");
        }
        let mut options = PruneOptions::default();
        options.images = self.all;
        // Each filter must let a thing through.
        options.unused_since = self.filters.into_iter().min();
        options.keep = self.keep_storage;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let pruned = runtime.block_on(hypr_build::prune(&root, options))?;
        for name in &pruned.untagged {
            stdout::line(&format!("untagged: {name}"))?;
        }
        stdout::line(&format!("removed: {} steps, {} layers, {} images", pruned.steps, pruned.layers, pruned.images))?;
        stdout::line(&format!("Total reclaimed space: {}", size(pruned.bytes)))
    }

    fn is_confirmed(&self) -> Result<bool, Failure> {
        let images = if self.all { "all images" } else { "images without a name" };
        let mut error = std::io::stderr().lock();
        write!(error, "This will remove the build cache, cache mounts and {images}. Are you sure? [y/N] ")?;
        error.flush()?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        if !std::io::stdin().is_terminal() {
            writeln!(error)?;
        }
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }
}

/// `until=` and a duration such as `1h30m`, RFC 3339, or seconds since 1970.
fn until(text: &str) -> Result<SystemTime, String> {
    let value = text.strip_prefix("until=").ok_or("the only filter is until=TIME")?;
    let since_epoch = |seconds: i64| match u64::try_from(seconds) {
        Ok(after) => SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(after)),
        Err(_) => SystemTime::UNIX_EPOCH.checked_sub(Duration::from_secs(seconds.unsigned_abs())),
    };
    let time = if let Ok(seconds) = value.parse::<i64>() {
        since_epoch(seconds)
    } else if let Some(age) = duration(value) {
        SystemTime::now().checked_sub(age)
    } else {
        let time: Timestamp = value.parse().map_err(|_| "neither a duration such as 24h nor a time".to_owned())?;
        since_epoch(time.0)
    };
    time.ok_or_else(|| "out of range".to_owned())
}

/// Go's form: numbers with a unit, one after another. Days and weeks are ours.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let unit = rest[digits..].len() - rest[digits..].trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let number: u64 = rest[..digits].parse().ok()?;
        let part = match &rest[digits..digits + unit] {
            "ms" => Some(Duration::from_millis(number)),
            "s" => Some(Duration::from_secs(number)),
            "m" => number.checked_mul(60).map(Duration::from_secs),
            "h" => number.checked_mul(3600).map(Duration::from_secs),
            "d" => number.checked_mul(86_400).map(Duration::from_secs),
            "w" => number.checked_mul(604_800).map(Duration::from_secs),
            _ => None,
        }?;
        total = total.checked_add(part)?;
        rest = &rest[digits + unit..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_add_up_and_what_is_none_is_refused() {
        for (text, seconds) in [("24h", Some(86_400)), ("1h30m", Some(5_400)), ("2d", Some(172_800)), ("5", None)] {
            assert_eq!(duration(text), seconds.map(Duration::from_secs), "{text}");
        }
        for text in ["", "h", "1y", "1h-2m", "99999999999999999999h", "18446744073709551615w"] {
            assert_eq!(duration(text), None, "{text}");
        }
        for text in ["until=24h", "until=2025-01-31T10:00:00Z", "until=1700000000", "until=0s"] {
            assert!(until(text).is_ok(), "{text}");
        }
        for text in ["until=", "until=soon", "24h", "label=a"] {
            assert!(until(text).is_err(), "{text}");
        }
    }
}
