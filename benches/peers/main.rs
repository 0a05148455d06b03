//! hypr beside BuildKit (Debian's dockerd) and buildah: the same builds, in one run, on the same file system.
//!
//! ```text
//! cargo run --release -p hypr-benches --bin peers -- --bases target/bases [--on DIR]... [--only WORD]... [--rounds N]
//! ```
//!
//! Needs root, docker.io, buildah, skopeo and squashfs-tools-ng of Debian, `target/release/hypr`, and the base images of
//! `examples/bases.sh`. Every build is without a network. The table goes between two marks of `benches/README.md`.

#![expect(clippy::print_stdout, reason = "a program for people")]

mod project;
mod scenario;
mod table;
mod tools;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;

use scenario::Scenario;
use table::Row;
use tools::{Buildah, Docker, Hypr, Tool};

/// Anything that keeps a measurement from being made ends the program.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(Debug, Parser)]
#[command(about = "Measures hypr beside BuildKit and buildah")]
struct Arguments {
    /// OCI layouts of the base images `busybox` and `debian-gcc`
    #[arg(long, default_value = "target/bases")]
    bases: PathBuf,
    /// hypr's release build
    #[arg(long, default_value = "target/release/hypr")]
    hypr: PathBuf,
    /// A directory on the file system to measure on; can be given several times
    #[arg(long = "on", default_value = "/dev/shm")]
    places: Vec<PathBuf>,
    /// Only scenarios whose name has this word; can be given several times
    #[arg(long)]
    only: Vec<String>,
    /// Leave out a tool: docker, buildah
    #[arg(long)]
    without: Vec<String>,
    /// Rounds of each scenario instead of its own number
    #[arg(long)]
    rounds: Option<usize>,
    /// Where the table goes; without it, it is only printed. With --only the other rows stay as they are
    #[arg(long)]
    readme: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut rows = Vec::new();
    for place in &arguments.places {
        let folder = tempfile::Builder::new().prefix("peers-").tempdir_in(place)?;
        let mut tools = tools(&arguments, folder.path())?;
        for tool in &mut tools {
            for base in ["busybox", "debian-gcc"] {
                tool.load(&arguments.bases.join(base).canonicalize()?, base)?;
            }
        }
        for scenario in scenario::all() {
            if arguments.only.is_empty() || arguments.only.iter().any(|word| scenario.name.contains(word.as_str())) {
                let rounds = arguments.rounds.unwrap_or(scenario.rounds);
                rows.push(measure(&scenario, rounds, &mut tools, folder.path(), place)?);
                println!("{}", table::line(rows.last().expect("a row was just added")));
            }
        }
    }
    let table = table::render(&rows);
    match &arguments.readme {
        Some(readme) if !arguments.only.is_empty() => table::put_rows(readme, &rows),
        Some(readme) => table::put(readme, &table),
        None => {
            println!("\n{table}");
            Ok(())
        }
    }
}

fn tools(arguments: &Arguments, folder: &Path) -> Result<Vec<Box<dyn Tool>>> {
    let wanted = |name: &str| !arguments.without.iter().any(|without| without == name);
    let mut tools: Vec<Box<dyn Tool>> = vec![Box::new(Hypr::new(&arguments.hypr.canonicalize()?, folder)?)];
    if wanted("docker") {
        tools.push(Box::new(Docker::start(folder)?));
    }
    if wanted("buildah") {
        tools.push(Box::new(Buildah::new(folder)?));
    }
    Ok(tools)
}

/// Runs a scenario with every tool in turn, round by round, so that what else the machine does falls on all alike.
fn measure(
    scenario: &Scenario,
    rounds: usize,
    tools: &mut [Box<dyn Tool>],
    folder: &Path,
    place: &Path,
) -> Result<Row> {
    let project = folder.join("project");
    std::fs::create_dir(&project)?;
    (scenario.prepare)(&project)?;
    let mut times: Vec<Vec<Duration>> = tools.iter().map(|_| Vec::new()).collect();
    let takes_part = |tool: &dyn Tool| !scenario.without.contains(&tool.name());
    for tool in tools.iter_mut().filter(|tool| takes_part(tool.as_ref())) {
        (scenario.warm_up)(tool.as_mut(), &project)?;
    }
    for round in 0..rounds {
        (scenario.change)(&project, round)?;
        for (tool, times) in tools.iter_mut().zip(&mut times) {
            if takes_part(tool.as_ref()) {
                times.push((scenario.run)(tool.as_mut(), &project)?);
            }
        }
    }
    for tool in tools.iter_mut() {
        tool.forget()?;
    }
    std::fs::remove_dir_all(&project)?;
    let measured = tools.iter().zip(times).map(|(tool, times)| (tool.name(), table::median(times))).collect();
    Ok(Row { scenario: scenario.name, place: table::file_system(place), bar: scenario.bar, measured })
}
