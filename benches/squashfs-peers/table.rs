//! The tables, and the machine that they were measured on.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Result;
use crate::tools::Row;

const BEGIN: &str = "<!-- squashfs-peers: begin; written by `squashfs-peers`, not by hand -->";
const END: &str = "<!-- squashfs-peers: end -->";

pub(crate) struct Table {
    title: String,
    rows: Vec<Row>,
    note: Option<String>,
}

impl Table {
    pub(crate) fn plain(title: String, rows: Vec<Row>) -> Self {
        Self { title, rows, note: None }
    }

    /// With the processor time of the first as a part of the second's, and its wall time as a multiple of the third's.
    pub(crate) fn beside(title: String, rows: Vec<Row>, (ours, peer, copy): (&str, &str, &str)) -> Self {
        let cost = |name: &str| rows.iter().find(|row| row.name == name).map(|row| row.cost);
        let note = match (cost(ours), cost(peer), cost(copy)) {
            (Some(ours), Some(other), Some(copied)) => Some(format!(
                "{ours_name}: 1/{:.1} of the processor time of \"{peer}\", {:.1} times the wall time of \"{copy}\".",
                other.cpu.as_secs_f64() / ours.cpu.as_secs_f64(),
                ours.wall.as_secs_f64() / copied.wall.as_secs_f64(),
                ours_name = rows.first().map_or("", |row| &row.name),
            )),
            _ => None,
        };
        Self { title, rows, note }
    }
}

pub(crate) fn render(tables: &[Table], place: &Path) -> String {
    let mut text = format!("{}\n", machine(place));
    for table in tables {
        let _ = writeln!(text, "\n{}:\n\n| | CPU s | wall s | peak MiB | MB |\n|---|---|---|---|---|", table.title);
        for row in &table.rows {
            let (cpu, wall) = (row.cost.cpu.as_secs_f64(), row.cost.wall.as_secs_f64());
            let (peak, size) = (row.cost.peak as f64 / 1_048_576.0, row.bytes as f64 / 1e6);
            let _ = writeln!(text, "| {} | {cpu:.3} | {wall:.3} | {peak:.0} | {size:.1} |", row.name);
        }
        if let Some(note) = &table.note {
            let _ = writeln!(text, "\n{note}");
        }
    }
    text
}

/// Puts the tables between their marks, which the file must have.
pub(crate) fn put(readme: &Path, tables: &str) -> Result<()> {
    let text = fs::read_to_string(readme)?;
    let (Some(begin), Some(end)) = (text.find(BEGIN), text.find(END)) else {
        return Err(format!("{} has no marks for the tables", readme.display()).into());
    };
    let text = format!("{}{BEGIN}\n{tables}{}", &text[..begin], &text[end..]);
    Ok(fs::write(readme, text)?)
}

fn machine(place: &Path) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default().to_owned();
    let file_system = printed(Command::new("stat").args(["--file-system", "--format=%T"]).arg(place));
    let first = |text: String| text.lines().next().unwrap_or_default().to_owned();
    format!(
        "Medians. {}, {cores} cores, load {load} at the end, on {}; kernel {}; {}; {}.",
        printed(Command::new("date").args(["--utc", "+%F"])),
        file_system.replace("ext2/ext3", "ext4"),
        printed(Command::new("uname").arg("-r")),
        first(printed(Command::new("mksquashfs").arg("-version"))),
        first(printed(Command::new("tar2sqfs").arg("--version"))),
    )
}

/// What a command prints, or nothing.
fn printed(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}
