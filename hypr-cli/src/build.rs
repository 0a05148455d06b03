//! `hypr build`.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    num::{NonZeroU32, NonZeroU64},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};
use hypr_build::{Builder, BuiltImage, Change, Isolation, Network, PathDifference, Verified, executor::Limits};

use crate::{
    check::{self, Call, Question},
    failure::Failure,
    interrupt,
    kernel::KernelArg,
    output::OutputFile,
    progress::{Progress, Sink, Style, printable},
    root::RootArg,
    secret::{self, SecretArg},
    ssh::{self, SshArg},
    stdout,
};

/// The largest Dockerfile that is read from standard input, in bytes.
const LARGEST_DOCKERFILE: u64 = 64 << 20;

/// How long threads may take to see that a build is over.
const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// The build context: a directory, - for a tar stream on standard input, the URL of a tar archive or of a Dockerfile,
    /// or a git repository such as `https://host/repository.git#branch:folder`
    #[arg(value_name = "CONTEXT")]
    context: PathBuf,
    /// A name for the image, as `name[:tag]`; can be given several times
    #[arg(short, long = "tag", value_name = "NAME")]
    tags: Vec<String>,
    /// The Dockerfile: CONTEXT/Dockerfile by default, or - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The stage to build: its name, or its number from 0
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// The value of an ARG; without =VALUE it comes from the environment
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    build_args: Vec<String>,
    /// A label for the image
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// Carry out every step again
    #[arg(long)]
    no_cache: bool,
    /// Carry out every step of this stage again
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    no_cache_filter: Vec<String>,
    /// More files or a base image: `NAME=DIR`, `NAME=oci-layout://PATH[:TAG]`,
    /// `NAME=docker-image://IMAGE`, or the URL of a file or a git repository
    #[arg(long = "build-context", value_name = "NAME=SOURCE")]
    build_contexts: Vec<String>,
    /// Say of each step that is not cached which input changed
    #[arg(long)]
    explain: bool,
    /// A secret for RUN --mount=type=secret: `id=ID[,src=FILE|,env=NAME]`
    #[arg(long = "secret", value_name = "SECRET", value_parser = secret::parse)]
    secrets: Vec<SecretArg>,
    /// An SSH agent for RUN --mount=type=ssh: `default` or `ID[=SOCKET]`, by default the one of SSH_AUTH_SOCK
    #[arg(long = "ssh", value_name = "AGENT", value_parser = ssh::parse)]
    ssh: Vec<SshArg>,
    /// The platform to build for
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,
    /// Where each RUN runs
    #[arg(long, value_enum, default_value_t = IsolationArg::Auto)]
    isolation: IsolationArg,
    #[command(flatten)]
    kernel: KernelArg,
    /// The network of each RUN
    #[arg(long, value_enum, default_value_t = NetworkArg::None)]
    network: NetworkArg,
    /// Memory that each RUN may use, in bytes or with a suffix: 512m, 2g
    #[arg(short, long, value_name = "SIZE", value_parser = size)]
    memory: Option<u64>,
    /// Processors that each RUN may use
    #[arg(long, value_name = "COUNT")]
    cpus: Option<NonZeroU32>,
    /// Processes and threads that each RUN may have
    #[arg(long, value_name = "COUNT")]
    pids_limit: Option<NonZeroU32>,
    /// What each RUN may write, in bytes or with a suffix; needs microVMs
    #[arg(long, value_name = "SIZE", value_parser = size)]
    scratch: Option<u64>,
    /// Seconds that each RUN may take
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
    /// What to make: an image in the store, or none
    #[arg(long, value_enum, default_value_t = Output::Image)]
    output: Output,
    /// Build twice without the cache, and fail if the two images differ: lists the paths and in what they do
    #[arg(long)]
    verify: bool,
    /// How to show progress
    #[arg(long, value_enum, default_value_t = Style::Auto)]
    progress: Style,
    /// Print the image's id and nothing else
    #[arg(short, long)]
    quiet: bool,
    /// Write the image's id to this file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Write what was built to this file, as JSON
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,
    /// Answer a question in place of building: build, check, outline or targets, with `,format=json` for programs
    #[arg(long, value_name = "QUESTION[,format=FORMAT]", default_value = "build", value_parser = Call::parse)]
    call: Call,
    /// Check the Dockerfile in place of building, as `--call=check`
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    root: RootArg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum IsolationArg {
    /// A microVM where one can run, else namespaces
    Auto,
    /// A microVM, or an error
    Vm,
    /// Linux namespaces
    Namespace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// An image in the store
    Image,
    /// None: the steps are carried out and stay in the cache, and that is all
    #[value(alias = "type=none", alias = "type=cacheonly")]
    None,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum NetworkArg {
    /// Loopback alone
    #[value(alias = "default")]
    None,
    /// The host's network
    Host,
}

impl BuildArgs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let call = Call { question: if self.check { Question::Check } else { self.call.question }, ..self.call };
        if call.question != Question::Build {
            return check::answer(call, self.builder()?);
        }
        self.check_output()?;
        let style = if self.quiet { Style::Quiet } else { self.progress };
        let progress = Progress::new(style);
        let builder = self.builder()?.progress(Sink(progress.clone()));
        // Files that cannot be written are found before the build, not after it.
        let results = Results { iidfile: prepare(&self.iidfile)?, metadata: prepare(&self.metadata_file)? };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let result = runtime.block_on(async {
            tokio::select! {
                result = carry_out(builder, self.output, self.verify) => result,
                signal = interrupt::awaited() => Err(signal.err().map_or(Failure::Interrupted, Failure::from)),
            }
        });
        // Threads that pack or hash end by themselves once nobody wants their result. One that waits for standard input
        // does not; it holds nothing.
        runtime.shutdown_timeout(GRACE);
        progress.close(result.is_ok());
        let Some(image) = result? else { return Ok(()) };
        results.write(&image)?;
        if style == Style::Quiet {
            stdout::line(&image.id())?;
        }
        Ok(())
    }

    /// Refuses what only an image can have.
    fn check_output(&self) -> Result<(), Failure> {
        if self.output == Output::Image {
            return Ok(());
        }
        let asked = [
            (self.verify, "--verify"),
            (!self.tags.is_empty(), "--tag"),
            (self.iidfile.is_some(), "--iidfile"),
            (self.metadata_file.is_some(), "--metadata-file"),
        ];
        match asked.iter().find(|(is_asked, _)| *is_asked) {
            Some((_, flag)) => {
                Err(Failure::Usage(format!("`{flag}` is about an image, and `--output none` makes none")))
            }
            None => Ok(()),
        }
    }

    /// What the arguments ask for.
    pub(crate) fn builder(&self) -> Result<Builder, Failure> {
        let from_stdin = |path: &Path| path.as_os_str() == "-";
        let context_is_tar = from_stdin(&self.context);
        let file_is_stdin = self.file.as_deref().is_some_and(from_stdin);
        if context_is_tar && file_is_stdin {
            return Err(Failure::Usage("context and Dockerfile cannot both come from standard input".to_owned()));
        }
        let mut builder =
            if context_is_tar { Builder::from_tar(std::io::stdin()) } else { Builder::new(&self.context) };
        builder = builder
            .store(self.root.path()?)
            .isolation(self.isolation.into())
            .guest_kernel(self.kernel.source()?)
            .network(self.network.into());
        if file_is_stdin {
            let mut text = Vec::new();
            std::io::stdin().lock().take(LARGEST_DOCKERFILE + 1).read_to_end(&mut text)?;
            if text.len() as u64 > LARGEST_DOCKERFILE {
                return Err(Failure::message(format!(
                    "the Dockerfile on standard input is larger than {LARGEST_DOCKERFILE} bytes"
                )));
            }
            builder = builder.dockerfile_text(text);
        } else if let Some(file) = &self.file {
            builder = builder.dockerfile(file);
        }
        for tag in &self.tags {
            builder = builder.tag(tag);
        }
        for argument in &self.build_args {
            match argument.split_once('=') {
                Some(("", _)) => return Err(Failure::Usage(format!("`--build-arg {argument}` has no name"))),
                Some((name, value)) => builder = builder.build_arg(name, value),
                // An argument without a value that the environment does not have is not given at all.
                None => {
                    if let Ok(value) = std::env::var(argument) {
                        builder = builder.build_arg(argument, value);
                    }
                }
            }
        }
        for label in &self.labels {
            let (key, value) = label.split_once('=').unwrap_or((label, ""));
            if key.is_empty() {
                return Err(Failure::Usage(format!("`--label {label}` has no name")));
            }
            builder = builder.label(key, value);
        }
        for context in &self.build_contexts {
            let pair = context.split_once('=').filter(|(name, source)| !name.is_empty() && !source.is_empty());
            let Some((name, source)) = pair else {
                return Err(Failure::Usage(format!("`--build-context {context}` is not NAME=SOURCE")));
            };
            builder = builder.build_context(name, source);
        }
        for SecretArg { id, secret } in &self.secrets {
            builder = builder.secret(id, secret.clone());
        }
        for SshArg { id, agent } in &self.ssh {
            builder = builder.ssh(id, agent.clone());
        }
        if self.explain {
            builder = builder.explain();
        }
        if let Some(target) = &self.target {
            builder = builder.target(target);
        }
        if let Some(platform) = &self.platform {
            builder = builder.platform(platform);
        }
        if self.no_cache {
            builder = builder.no_cache();
        }
        for stage in &self.no_cache_filter {
            builder = builder.no_cache_for(stage);
        }
        builder = builder.limits(Limits {
            cpus: self.cpus,
            memory: self.memory.and_then(NonZeroU64::new),
            pids: self.pids_limit,
            scratch: self.scratch.and_then(NonZeroU64::new),
            timeout: self.timeout.map(Duration::from_secs),
        });
        if let Some(epoch) = std::env::var_os("SOURCE_DATE_EPOCH").filter(|epoch| !epoch.is_empty()) {
            let seconds = epoch.to_str().and_then(|epoch| epoch.parse().ok());
            let seconds = seconds.ok_or_else(|| {
                Failure::message(format!("SOURCE_DATE_EPOCH is not a number of seconds: {}", epoch.display()))
            })?;
            builder = builder.source_date_epoch(seconds);
        }
        Ok(builder)
    }
}

async fn carry_out(builder: Builder, output: Output, verify: bool) -> Result<Option<BuiltImage>, Failure> {
    match output {
        Output::Image if verify => verified(builder.verify().await?).map(Some),
        Output::Image => Ok(Some(builder.build().await?)),
        Output::None => builder.solve().await.map(|()| None).map_err(Failure::from),
    }
}

/// The image, or on standard output all that differs between two builds of it.
fn verified(verified: Verified) -> Result<BuiltImage, Failure> {
    if let Some(image) = verified.image {
        return Ok(image);
    }
    for PathDifference { path, changes, .. } in &verified.differences {
        let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
        stdout::line(&format!("{}: {}", printable(path), changes.join(", ")))?;
    }
    let is_time =
        |difference: &PathDifference| difference.changes.iter().all(|change| matches!(change, Change::Time(..)));
    let hint = match verified.differences.iter().all(is_time) {
        true => "; SOURCE_DATE_EPOCH in the environment fixes times",
        false => "",
    };
    let count = verified.differences.len();
    let paths = if count == 1 { "1 path differs".to_owned() } else { format!("{count} paths differ") };
    Err(Failure::message(format!("{paths} between two builds, so no image was made{hint}")))
}

impl From<IsolationArg> for Isolation {
    fn from(isolation: IsolationArg) -> Self {
        match isolation {
            IsolationArg::Auto => Self::Auto,
            IsolationArg::Vm => Self::Vm,
            IsolationArg::Namespace => Self::Namespace,
        }
    }
}

impl From<NetworkArg> for Network {
    fn from(network: NetworkArg) -> Self {
        match network {
            NetworkArg::None => Self::None,
            NetworkArg::Host => Self::Host,
        }
    }
}

/// The keys are those of `docker buildx build --metadata-file`, and hypr's own.
fn metadata(image: &BuiltImage) -> Result<Vec<u8>, Failure> {
    let manifest = image.manifest();
    let mut values = BTreeMap::new();
    values.insert("containerimage.config.digest", image.id());
    values.insert("containerimage.digest", image.id());
    if !image.names().is_empty() {
        values.insert("image.name", image.names().join(","));
    }
    values.insert("hypr.squashfs.path", manifest.squashfs.path.display().to_string());
    values.insert("hypr.squashfs.digest", format!("blake3:{}", manifest.squashfs.digest));
    let mut text = serde_json::to_vec_pretty(&values)?;
    text.push(b'\n');
    Ok(text)
}

/// The files that tell what was built.
struct Results {
    iidfile: Option<ResultFile>,
    metadata: Option<ResultFile>,
}

/// A file that is seen whole or not at all; a pipe or terminal, such as /dev/stdout, is written to as it is.
enum ResultFile {
    Regular(PathBuf, OutputFile),
    Other(PathBuf),
}

impl Results {
    fn write(self, image: &BuiltImage) -> Result<(), Failure> {
        if let Some(file) = self.iidfile {
            file.write(image.id().as_bytes())?;
        }
        if let Some(file) = self.metadata {
            file.write(&metadata(image)?)?;
        }
        Ok(())
    }
}

impl ResultFile {
    fn write(self, content: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Regular(path, output) => {
                let written =
                    output.file().and_then(|mut file| file.write_all(content)).and_then(|()| output.publish());
                written.map_err(|error| cannot_write(&path, error))
            }
            Self::Other(path) => std::fs::write(&path, content).map_err(|error| cannot_write(&path, error)),
        }
    }
}

fn prepare(path: &Option<PathBuf>) -> Result<Option<ResultFile>, Failure> {
    let Some(path) = path else { return Ok(None) };
    if path.exists() && !path.is_file() && !path.is_dir() {
        return Ok(Some(ResultFile::Other(path.clone())));
    }
    let output = OutputFile::create(path).map_err(|error| cannot_write(path, error))?;
    Ok(Some(ResultFile::Regular(path.clone(), output)))
}

fn cannot_write(path: &Path, error: std::io::Error) -> Failure {
    Failure::doing(format!("write {}", path.display()), error)
}

/// As [`size_or_zero`], but more than nothing.
fn size(text: &str) -> Result<u64, String> {
    size_or_zero(text).and_then(|bytes| if bytes > 0 { Ok(bytes) } else { Err("out of range".to_owned()) })
}

/// Bytes, with an optional suffix of docker's.
pub(crate) fn size_or_zero(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &lower[digits.len()..] {
        "" | "b" => 0,
        "k" | "kb" | "ki" | "kib" => 10,
        "m" | "mb" | "mi" | "mib" => 20,
        "g" | "gb" | "gi" | "gib" => 30,
        "t" | "tb" | "ti" | "tib" => 40,
        _ => return Err("the suffix is none of b, k, m, g, t".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "not a number of bytes".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "out of range".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_dockers_suffixes() {
        for (text, bytes) in
            [("512m", Some(512 << 20)), ("2G", Some(2 << 30)), ("10", Some(10)), ("0", None), ("1q", None)]
        {
            assert_eq!(size(text).ok(), bytes, "{text}");
        }
    }
}
