//! `hypr check`, and the other questions that `hypr build --call` answers without building.

use std::fmt::Write as _;

use clap::{Args, ValueEnum};
use hypr_build::{Builder, CheckReport, Outline, OutlineMount, Target};
use serde_json::{Value, json};

use crate::{
    build::BuildArgs,
    failure::{Failure, escape},
    stdout,
};

/// The arguments of `hypr check`.
#[derive(Debug, Args)]
#[command(mut_arg("context", |context| context.required(false).default_value(".")))]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    build: BuildArgs,
    /// How to print what was found
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// For programs, as BuildKit prints it
    Json,
}

/// What `hypr build --call` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    Build,
    Check,
    Outline,
    Targets,
}

/// `--call=QUESTION[,format=FORMAT]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) question: Question,
    pub(crate) format: Format,
}

impl Call {
    /// Reads the value of `--call`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut call = Self { question: Question::Build, format: Format::Text };
        for (at, part) in text.split(',').enumerate() {
            match (at, part.split_once('=')) {
                (0, None) => {
                    call.question = match part {
                        "build" => Question::Build,
                        "check" | "lint" => Question::Check,
                        "outline" => Question::Outline,
                        "targets" => Question::Targets,
                        _ => return Err("it is none of build, check, outline and targets".to_owned()),
                    }
                }
                (_, Some(("format", "json"))) => call.format = Format::Json,
                (_, Some(("format", "text"))) => call.format = Format::Text,
                _ => return Err(format!("`{part}` is not an option of it; there is format=text and format=json")),
            }
        }
        Ok(call)
    }
}

impl CheckArgs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let call = Call { question: Question::Check, format: self.format };
        answer(call, self.build.builder()?)
    }
}

/// Asks and prints the answer. What a check finds is a failure, which has been told then.
pub(crate) fn answer(call: Call, builder: Builder) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match call.question {
        Question::Build => Ok(()),
        Question::Check => {
            let report = runtime.block_on(builder.check())?;
            match call.format {
                Format::Text => print_text(&check_text(&report))?,
                Format::Json => print_json(&check_json(&report))?,
            }
            match report.error {
                Some(error) if call.format == Format::Text => Err(Failure::from(error)),
                None if report.findings.is_empty() => Ok(()),
                _ => Err(Failure::Told),
            }
        }
        Question::Outline => {
            let outline = runtime.block_on(builder.outline())?;
            match call.format {
                Format::Text => print_text(&outline_text(&outline)),
                Format::Json => print_json(&outline_json(&outline)),
            }
        }
        Question::Targets => {
            let targets = runtime.block_on(builder.targets())?;
            match call.format {
                Format::Text => print_text(&targets_text(&targets)),
                Format::Json => print_json(&targets_json(&targets)),
            }
        }
    }
}

/// Prints lines without bytes that a terminal would act on.
fn print_text(text: &str) -> Result<(), Failure> {
    let text: String = text.lines().map(|line| format!("{}\n", escape(line))).collect();
    stdout::bytes(text.as_bytes())
}

fn print_json(value: &Value) -> Result<(), Failure> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    stdout::bytes(&text)
}

fn check_text(report: &CheckReport) -> String {
    let mut text = String::new();
    for found in &report.findings {
        let message = format!("{}: {}", found.rule, found.detail);
        let url = found.rule.url();
        text.push_str(&report.dockerfile.source.render(&report.file, found.span, &message, url.as_deref()));
        text.push('\n');
    }
    for image in &report.unknown {
        let _ = writeln!(
            text,
            "note: the configuration of `{image}` is not at hand; uses of its variables are not checked"
        );
    }
    // What is wrong besides is told by the error.
    if report.error.is_some() {
        return text;
    }
    text.push_str(&match report.findings.len() {
        0 => "Check complete, no warnings found.\n".to_owned(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        count => format!("Check complete, {count} warnings have been found!\n"),
    });
    text
}

fn check_json(report: &CheckReport) -> Value {
    let warnings = report.findings.iter().map(|found| {
        let mut warning = json!({
            "ruleName": found.rule.name(),
            "description": found.rule.description(),
            "detail": found.detail,
            "location": { "ranges": [range(found.lines.0, found.lines.1)] },
        });
        if let Some(url) = found.rule.url() {
            warning["url"] = json!(url);
        }
        warning
    });
    let mut value = json!({
        "warnings": warnings.collect::<Vec<_>>(),
        "sources": [{
            "fileName": report.file,
            "language": "Dockerfile",
            "definition": null,
            "data": base64(report.dockerfile.source.text().as_bytes()),
        }],
    });
    if let Some(error) = &report.error {
        value["buildError"] = json!({ "message": chain(error) });
    }
    value
}

fn chain(error: &hypr_build::Error) -> String {
    let error: &dyn std::error::Error = error;
    let causes = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string);
    causes.collect::<Vec<_>>().join(": ")
}

fn range(first: usize, last: usize) -> Value {
    json!({ "start": { "line": first }, "end": { "line": last } })
}

fn outline_text(outline: &Outline) -> String {
    let mut text = String::new();
    let mut table = |head: [&str; 3], rows: Vec<[String; 3]>| {
        if rows.is_empty() {
            return;
        }
        let rows: Vec<[String; 3]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let (first, second) = (width(0), width(1));
        for [a, b, c] in &rows {
            let line = format!("{a:first$}   {b:second$}   {c}");
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text.push('\n');
    };
    let args = outline
        .args
        .iter()
        .map(|arg| [arg.name.clone(), arg.value.clone(), arg.description.clone().unwrap_or_default()]);
    table(["BUILD ARG", "VALUE", "DESCRIPTION"], args.collect());
    let mounts = |mounts: &[OutlineMount]| {
        let row = |mount: &OutlineMount| {
            let required = if mount.required { "true" } else { "" };
            [mount.name.clone(), required.to_owned(), String::new()]
        };
        mounts.iter().map(row).collect::<Vec<_>>()
    };
    table(["SECRET", "REQUIRED", ""], mounts(&outline.secrets));
    table(["SSH", "REQUIRED", ""], mounts(&outline.ssh));
    text
}

fn outline_json(outline: &Outline) -> Value {
    let location = |line: usize| json!({ "ranges": [range(line, line)] });
    let args = outline.args.iter().map(|arg| {
        let mut value = json!({ "name": arg.name, "location": location(arg.line) });
        if !arg.value.is_empty() {
            value["value"] = json!(arg.value);
        }
        if let Some(description) = &arg.description {
            value["description"] = json!(description);
        }
        value
    });
    let mounts = |mounts: &[OutlineMount]| {
        let value = |mount: &OutlineMount| json!({ "name": mount.name, "required": mount.required, "location": location(mount.line) });
        mounts.iter().map(value).collect::<Vec<_>>()
    };
    let mut value = json!({});
    for (name, list) in
        [("args", args.collect::<Vec<_>>()), ("secrets", mounts(&outline.secrets)), ("ssh", mounts(&outline.ssh))]
    {
        if !list.is_empty() {
            value[name] = json!(list);
        }
    }
    value
}

fn targets_text(targets: &[Target]) -> String {
    let names: Vec<String> = targets
        .iter()
        .map(|target| {
            let name = target.name.clone().unwrap_or_else(|| target.number.to_string());
            if target.is_default { format!("{name} (default)") } else { name }
        })
        .collect();
    let width = names.iter().map(|name| name.chars().count()).chain(["TARGET".len()]).max().unwrap_or(0);
    let mut text = format!("{:width$}   DESCRIPTION\n", "TARGET");
    for (name, target) in names.iter().zip(targets) {
        let line = format!("{name:width$}   {}", target.description.as_deref().unwrap_or_default());
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn targets_json(targets: &[Target]) -> Value {
    let target = |target: &Target| {
        let mut value = json!({ "base": target.base, "location": { "ranges": [range(target.line, target.line)] } });
        let optional = [("name", &target.name), ("description", &target.description), ("platform", &target.platform)];
        for (key, text) in optional {
            if let Some(text) = text {
                value[key] = json!(text);
            }
        }
        if target.is_default {
            value["default"] = json!(true);
        }
        value
    };
    json!({ "targets": targets.iter().map(target).collect::<Vec<_>>() })
}

/// Bytes as BuildKit has them in JSON.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit)) & 63;
            out.push(if digit <= chunk.len() { char::from(DIGITS[index as usize]) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_a_question_and_a_format() {
        for (text, expected) in [
            ("check", Some((Question::Check, Format::Text))),
            ("outline,format=json", Some((Question::Outline, Format::Json))),
            ("targets,format=text", Some((Question::Targets, Format::Text))),
            ("build", Some((Question::Build, Format::Text))),
            ("nope", None),
            ("check,format=xml", None),
            ("check,json", None),
            ("", None),
        ] {
            let call = Call::parse(text).ok().map(|call| (call.question, call.format));
            assert_eq!(call, expected, "{text:?}");
        }
    }

    #[test]
    fn bytes_have_the_usual_digits() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
