//! `hypr squashfs` beside the programs that make squashfs images: mksquashfs, tar2sqfs, gensquashfs, and `cp`.
//!
//! ```text
//! cargo build --release -p hypr-cli
//! cargo run -p hypr-benches --bin squashfs-peers -- [--on DIR] [--rounds N] [--only WORD]... [--readme FILE]
//! ```
//!
//! Needs root, a machine with Debian's packages, squashfs-tools and squashfs-tools-ng. The trees are made of files that
//! packages installed here, so two machines measure different trees; in one run, all programs get the same. The tables
//! go between two marks of `benches/README.md`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

mod growth;
mod measure;
mod stack;
mod table;
mod tools;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;

use table::Table;
use tools::Tool;

/// Anything that keeps a measurement from being made ends the program.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Set in the process that has a mount namespace of its own.
const INSIDE: &str = "SQUASHFS_PEERS_INSIDE";

#[derive(Debug, Parser)]
#[command(about = "Measures hypr squashfs beside other makers of squashfs images")]
struct Arguments {
    /// hypr's release build
    #[arg(long, default_value = "target/release/hypr")]
    hypr: PathBuf,
    /// A directory on the file system to measure on, with room for five times the content
    #[arg(long, default_value = "/dev/shm")]
    on: PathBuf,
    /// Content of the tree in MiB
    #[arg(long, default_value_t = 1024)]
    size: u64,
    /// Rounds, in each of which every program runs once
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only tables whose name has this word: merge, pack, files, layers; can be given several times
    #[arg(long)]
    only: Vec<String>,
    /// Where the tables go; without it, they are only printed
    #[arg(long)]
    readme: Option<PathBuf>,
}

fn main() -> Result<()> {
    let mut arguments = Arguments::parse();
    if std::env::var_os(INSIDE).is_none() {
        // What is mounted goes with the namespace, however this ends.
        let mut again = Command::new("unshare");
        again.args(["--mount", "--propagation", "private", "--"]).arg(std::env::current_exe()?);
        return Err(again.args(std::env::args_os().skip(1)).env(INSIDE, "1").exec().into());
    }
    arguments.hypr = arguments.hypr.canonicalize()?;
    let folder = tempfile::Builder::new().prefix("squashfs-peers-").tempdir_in(&arguments.on)?;
    let wanted = |name: &str| arguments.only.is_empty() || arguments.only.iter().any(|word| name.contains(&**word));
    let mut tables = Vec::new();
    if wanted("merge") || wanted("pack") {
        let layers = layers(&arguments, folder.path())?;
        let tree = folder.path().join("tree");
        let mounts = mount(&layers, &tree)?;
        if wanted("merge") {
            tables.push(merge(&arguments, folder.path(), &layers, &tree)?);
        }
        if wanted("pack") {
            tables.push(pack(&arguments, folder.path(), &tree)?);
        }
        drop(mounts);
        layers.iter().try_for_each(fs::remove_file)?;
    }
    if wanted("files") {
        tables.push(growth::files(&arguments.hypr, folder.path(), arguments.rounds)?);
    }
    if wanted("layers") {
        tables.push(growth::layers(&arguments.hypr, folder.path(), arguments.rounds)?);
    }
    let text = table::render(&tables, &arguments.on);
    println!("{text}");
    arguments.readme.as_deref().map_or(Ok(()), |readme| table::put(readme, &text))
}

/// Makes the stack's layers as images, with their indexes beside them.
fn layers(arguments: &Arguments, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut layers = Vec::new();
    for upper in stack::make(folder, arguments.size << 20)? {
        let image = upper.with_extension("squashfs");
        measure::run(tools::hypr(&arguments.hypr).arg("pack").arg(&upper).arg("-o").arg(&image).arg("--index"), None)?;
        fs::remove_dir_all(&upper)?;
        layers.push(image);
    }
    Ok(layers)
}

/// Where something is mounted; unmounted again in the end, also when a program failed.
#[derive(Default)]
struct Mounts(Vec<PathBuf>);

impl Mounts {
    fn add(&mut self, arguments: &[&str], source: &Path, target: PathBuf) -> Result<()> {
        fs::create_dir(&target)?;
        measure::run(Command::new("mount").args(arguments).arg(source).arg(&target), None)?;
        self.0.push(target);
        Ok(())
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        for target in self.0.drain(..).rev() {
            let unmount = |flags: &[&str]| measure::run(Command::new("umount").args(flags).arg(&target), None);
            if let Err(error) = unmount(&[]).or_else(|_| unmount(&["--lazy"])) {
                eprintln!("cannot unmount {}: {error}", target.display());
            }
        }
    }
}

/// Mounts the layers and an overlay of them on `tree`.
fn mount(layers: &[PathBuf], tree: &Path) -> Result<Mounts> {
    let mut mounts = Mounts::default();
    let mut lower = String::new();
    for layer in layers {
        let target = layer.with_extension("mounted");
        lower = format!("{}:{lower}", target.display());
        mounts.add(&["-t", "squashfs", "-o", "loop,ro"], layer, target)?;
    }
    let options = format!("ro,lowerdir={}", lower.trim_end_matches(':'));
    mounts.add(&["-t", "overlay", "-o", &options], Path::new("overlay"), tree.to_owned())?;
    Ok(mounts)
}

fn merge(arguments: &Arguments, folder: &Path, layers: &[PathBuf], tree: &Path) -> Result<Table> {
    let output = folder.join("merged.squashfs");
    let merge = |index: bool| {
        let mut command = tools::hypr(&arguments.hypr);
        command.arg("merge").args(layers).arg("-o").arg(&output);
        if index {
            command.arg("--index");
        }
        command
    };
    let copied = folder.join("copied.squashfs");
    measure::run(&mut merge(false), None)?;
    fs::copy(&output, &copied)?;
    let mut cp = Command::new("cp");
    cp.arg(&copied).arg(&output);
    let mut tools = vec![
        Tool::new("hypr merge", merge(false), None),
        Tool::new("hypr merge, writing an index", merge(true), None),
        Tool::new("mksquashfs of the mounted stack", tools::mksquashfs(tree, &output), None),
        Tool::new("cp of the result", cp, None),
    ];
    let rows = tools::measure(&mut tools, &output, arguments.rounds)?;
    fs::remove_file(copied)?;
    let paths = tools::count(tree)?;
    let title = format!("Merging four layers, {paths} paths, {} MiB of content", arguments.size);
    Ok(Table::beside(title, rows, ("hypr merge", "mksquashfs of the mounted stack", "cp of the result")))
}

fn pack(arguments: &Arguments, folder: &Path, tree: &Path) -> Result<Table> {
    let (source, archive, output) = (folder.join("source"), folder.join("source.tar"), folder.join("packed.squashfs"));
    measure::run(Command::new("cp").arg("-a").arg(tree).arg(&source), None)?;
    // In the order of a walk, so that the same image comes of it.
    let script = "cd \"$1\" && find . -mindepth 1 -print0 | LC_ALL=C sort -z |
        tar --null --no-recursion --xattrs --format=posix -T - -cf \"$2\"";
    measure::run(Command::new("sh").args(["-c", script, "sh"]).arg(&source).arg(&archive), None)?;
    let mut tools = tools::packers(&arguments.hypr, &source, &archive, &output);
    let rows = tools::measure(&mut tools, &output, arguments.rounds)?;
    let paths = tools::count(&source)?;
    fs::remove_dir_all(source)?;
    fs::remove_file(archive)?;
    Ok(Table::plain(format!("Packing the same tree, {paths} paths, zstd 3, 128 KiB blocks"), rows))
}
