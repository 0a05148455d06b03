//! The programs that are compared, all with zstd 3 and blocks of 128 KiB. `sqfstar` of Debian 12 takes no level, so it is not
//! among them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::measure::{self, Cost};

/// One program with its arguments.
pub(crate) struct Tool {
    name: &'static str,
    command: Command,
    stdin: Option<PathBuf>,
}

/// What a program cost and how large its output was.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) cost: Cost,
    pub(crate) bytes: u64,
}

impl Tool {
    pub(crate) fn new(name: &'static str, command: Command, stdin: Option<&Path>) -> Self {
        Self { name, command, stdin: stdin.map(Path::to_owned) }
    }
}

/// Runs all programs in turn, round by round, so that what else the machine does falls on all alike. Each finds no
/// output of another.
pub(crate) fn measure(tools: &mut [Tool], output: &Path, rounds: usize) -> Result<Vec<Row>> {
    let mut costs: Vec<(Vec<Cost>, u64)> = tools.iter().map(|_| (Vec::new(), 0)).collect();
    for _ in 0..rounds {
        for (tool, (costs, bytes)) in tools.iter_mut().zip(&mut costs) {
            let _ = fs::remove_file(output);
            let stdin = tool.stdin.as_ref().map(File::open).transpose()?;
            costs.push(measure::run(&mut tool.command, stdin)?);
            *bytes = fs::metadata(output)?.len();
        }
    }
    let _ = fs::remove_file(output);
    let rows = tools.iter().zip(costs).map(|(tool, (costs, bytes))| Row {
        name: tool.name.to_owned(),
        cost: measure::median(&costs),
        bytes,
    });
    Ok(rows.collect())
}

pub(crate) fn hypr(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("squashfs");
    command
}

pub(crate) fn mksquashfs(source: &Path, output: &Path) -> Command {
    let mut command = Command::new("mksquashfs");
    command.arg(source).arg(output).args(["-comp", "zstd", "-Xcompression-level", "3", "-b", "128K"]);
    command.args(["-noappend", "-no-progress", "-quiet"]);
    command
}

pub(crate) fn packers(program: &Path, source: &Path, archive: &Path, output: &Path) -> Vec<Tool> {
    let with = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments);
        command
    };
    let (mut directory, mut stream) = (hypr(program), hypr(program));
    directory.arg("pack").arg(source).arg("-o").arg(output);
    stream.args(["pack", "-", "-o"]).arg(output);
    let cores = std::thread::available_parallelism().map_or(1, usize::from).to_string();
    let compressor = ["-c", "zstd", "-X", "level=3", "-b", "128K", "-j", &cores, "-q", "-f"];
    let mut tar2sqfs = with("tar2sqfs", &compressor);
    tar2sqfs.arg(output);
    let mut gensquashfs = with("gensquashfs", &compressor);
    gensquashfs.args(["-x", "-k", "-D"]).arg(source).arg(output);
    vec![
        Tool::new("hypr pack of the directory", directory, None),
        Tool::new("hypr pack of a tar stream", stream, Some(archive)),
        Tool::new("mksquashfs", mksquashfs(source, output), None),
        Tool::new("tar2sqfs", tar2sqfs, Some(archive)),
        Tool::new("gensquashfs", gensquashfs, None),
    ]
}

/// Paths below a directory, itself included.
pub(crate) fn count(directory: &Path) -> Result<usize> {
    let output = Command::new("find").arg(directory).args(["-printf", "."]).output()?;
    Ok(output.stdout.len())
}
