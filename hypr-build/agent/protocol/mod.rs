//! What hypr and its agent say to each other: frames on one byte stream.
//!
//! This folder is compiled into both, so that the protocol exists once. A frame is a kind (one byte), three zero bytes,
//! the length of the body (`u32`, little-endian) and the body. The agent speaks first, with [`Report::Hello`]. Neither
//! side trusts a length: a body longer than [`MAX_REQUEST`] or [`MAX_REPORT`] is refused before it is read.

mod codec;
mod stream;

use self::codec::{Decoder, Encoder};
pub(crate) use self::stream::{Flow, MAX_DATA, MAX_STREAMS, WINDOW};

/// What both sides must have in common. Any change of these frames changes it.
pub(crate) const VERSION: u32 = 5;

/// Bytes before the body of a frame.
pub(crate) const HEADER: usize = 8;

/// The longest body that hypr sends: arguments and environment are bounded by the kernel to less.
pub(crate) const MAX_REQUEST: usize = 16 << 20;

/// The longest body that the agent sends.
pub(crate) const MAX_REPORT: usize = 64 << 10;

/// How many descriptors travel with one [`Request::Descriptors`]; the kernel's own limit is 253.
pub(crate) const MAX_DESCRIPTORS: usize = 128;

/// A frame that is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// What hypr asks of the agent, in this order: descriptors or [`Machine`](Request::Machine), [`Sandbox`](Request::Sandbox),
/// [`IdsMapped`](Request::IdsMapped) when asked for, [`Process`](Request::Process), and once that ended
/// [`Capture`](Request::Capture) and [`CaptureMount`](Request::CaptureMount) as often as needed. The end of the stream,
/// at any time, ends the sandbox.
///
/// Or else it asks for work on directories that hold ids of a user namespace: descriptors, [`Unpack`](Request::Unpack)
/// or [`Remove`](Request::Remove), and [`IdsMapped`](Request::IdsMapped); the answer is [`Report::Done`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// So many descriptors come with this frame; [`Sandbox`] says what they are.
    Descriptors(u32),
    /// What the agent's virtual machine is to have mounted. Only the agent of a machine is told, and nobody sends it
    /// descriptors: it makes those that [`Sandbox`] speaks of, with one control group, and its layers are directories
    /// by the names of [`layer_directory`].
    Machine(Machine),
    /// The sandbox to make.
    Sandbox(Sandbox),
    /// The agent's user namespace has its id maps.
    IdsMapped,
    /// The process to run in it.
    Process(Process),
    /// Something about the stream of this number. Until the process has ended; what comes later means nothing.
    Stream(u32, Flow),
    /// Send the changes.
    Capture,
    /// Send the changes below the mount of this number, which is one of [`Access::Captured`].
    CaptureMount(u32),
    /// Unpack a layer. The descriptors are the empty directory it goes to, and a stream of it as tar.
    Unpack,
    /// Remove the tree of this name, if there is one. The descriptor is the directory it is in.
    Remove(Vec<u8>),
}

/// What a virtual machine has for its sandbox.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Where each layer is on the first disk: the first byte, and how many.
    pub(crate) layers: Vec<(u64, u64)>,
    /// Bytes of memory that the sandbox may use, or with zero all there is.
    pub(crate) memory: u64,
    /// Processes and threads that the sandbox may have, or with zero any number.
    pub(crate) pids: u64,
}

/// Where a machine's agent mounts the layer of this number.
pub(crate) fn layer_directory(number: usize) -> String {
    format!("/layers/{number}")
}

/// What the sandbox is made of. The descriptors sent before it are, in order: the scratch directory, then for each of
/// `cgroups` its `cgroup.procs` open for writing and its parent directory, then for each lower of kind
/// [`Lower::Mount`] a detached mount, those of `lowers` first and then those of each of `mounts`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sandbox {
    /// Whether the agent makes itself a user namespace and waits for [`Request::IdsMapped`].
    pub(crate) user_namespace: bool,
    /// Whether the process keeps the network that the agent was started in.
    pub(crate) host_network: bool,
    /// The host name.
    pub(crate) hostname: Vec<u8>,
    /// The content of `/etc/hosts`.
    pub(crate) hosts: Vec<u8>,
    /// The content of `/etc/resolv.conf`.
    pub(crate) resolv_conf: Vec<u8>,
    /// Programs to be found below `/dev`.
    pub(crate) programs: Vec<Program>,
    /// The name of the step's control group in each hierarchy.
    pub(crate) cgroups: Vec<Vec<u8>>,
    /// The layers, lowest first.
    pub(crate) lowers: Vec<Lower>,
    /// What is mounted for the step besides, in this order.
    pub(crate) mounts: Vec<Mount>,
}

/// Something that is mounted in the root for one step. What changes there never shows in the changes of the root.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Where, as an absolute path in the root, whose symbolic links are followed.
    pub(crate) target: Vec<u8>,
    pub(crate) content: Content,
}

/// What is mounted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// What `source` is in a stack of layers, lowest first: a path without links, or empty for all of it.
    Tree { lowers: Vec<Lower>, source: Vec<u8>, is_directory: bool, access: Access },
    /// An empty file system in memory, of so many bytes or, with zero, of the kernel's choice.
    Tmpfs { size: u64 },
    /// A file that is no part of any layer.
    File { content: Vec<u8>, mode: u32, uid: u32, gid: u32 },
    /// A socket whose connections are streams to hypr.
    Socket { mode: u32, uid: u32, gid: u32 },
}

/// What may be written to a mounted tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    ReadOnly,
    /// Anything, and it is gone afterwards.
    Discarded,
    /// Anything, and it can be asked for.
    Captured,
}

impl Mount {
    /// Whether a directory is mounted.
    pub(crate) fn is_directory(&self) -> bool {
        match &self.content {
            Content::Tree { is_directory, .. } => *is_directory,
            Content::Tmpfs { .. } => true,
            Content::File { .. } | Content::Socket { .. } => false,
        }
    }

    /// The layers of a tree.
    pub(crate) fn lowers(&self) -> &[Lower] {
        match &self.content {
            Content::Tree { lowers, .. } => lowers,
            Content::Tmpfs { .. } | Content::File { .. } | Content::Socket { .. } => &[],
        }
    }
}

/// An executable file that is no part of the image.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// Its absolute path, below `/dev`.
    pub(crate) path: Vec<u8>,
    pub(crate) content: Vec<u8>,
}

/// Where a layer's tree is found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lower {
    /// A detached mount among the descriptors.
    Mount,
    /// A directory, by its absolute path.
    Directory(Vec<u8>),
}

/// The process to run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Process {
    /// The program and its arguments.
    pub(crate) args: Vec<Vec<u8>>,
    /// `NAME=value` each.
    pub(crate) env: Vec<Vec<u8>>,
    /// The working directory, which must exist.
    pub(crate) cwd: Vec<u8>,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
    /// One bit for each capability that the process may have.
    pub(crate) capabilities: u64,
    /// A classic BPF program of eight bytes an instruction; none when empty.
    pub(crate) seccomp: Vec<u8>,
}

/// What the agent reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Report {
    /// The first frame: the agent's [`VERSION`].
    Hello(u32),
    /// The agent's user namespace waits for its id maps.
    MapIds,
    /// The sandbox stands; the process is started now.
    Started,
    /// Bytes of the process's standard output.
    Stdout(Vec<u8>),
    /// Bytes of the process's standard error.
    Stderr(Vec<u8>),
    /// A process has connected to the socket that is the mount of this number: the stream's number, and the mount's.
    Connected { stream: u32, mount: u32 },
    /// Something about the stream of this number.
    Stream(u32, Flow),
    /// The process and all that it started have ended; everything they wrote has been sent.
    Exited(Exited),
    /// Bytes of the tar of changes.
    Changes(Vec<u8>),
    /// The tar of changes lacks so many sockets, of which this is the first; said at most once, behind the changes.
    LeftOut { sockets: u64, first: Vec<u8> },
    /// The tar of changes is complete.
    Captured,
    /// The directories are as they were asked for.
    Done,
    /// Something went wrong; nothing follows.
    Failed(Failure),
}

/// How the process ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Exited {
    /// 0 to 255; 128 + N after signal N.
    pub(crate) status: u8,
    /// User and system time of all processes that were waited for, in microseconds.
    pub(crate) cpu_micros: u64,
    /// What the agent of a machine alone knows.
    pub(crate) account: Account,
}

/// What a sandbox used of its machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// Bytes of memory at the highest; 0 when that is not known.
    pub(crate) peak_memory: u64,
    /// Whether a process was killed for want of memory.
    pub(crate) out_of_memory: bool,
    /// Whether a process could not be made for the limit.
    pub(crate) out_of_pids: bool,
    /// Whether the scratch disk is full.
    pub(crate) out_of_scratch: bool,
}

/// Why the agent could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    /// What was being done, as a verb and its object.
    pub(crate) action: String,
    /// The system's answer; 0 when it was not the system.
    pub(crate) errno: i32,
    /// Why not, where it was not the system.
    pub(crate) reason: String,
}

/// Who has to act on a [`Failure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// The sandbox could not be made.
    Setup,
    /// The program could not be started.
    Start,
    /// The changes could not be read.
    Capture,
    /// The agent and hypr do not understand each other.
    Protocol,
}

pub(crate) mod kind {
    //! The first byte of each frame.
    pub(crate) const HELLO: u8 = 0x01;
    pub(crate) const MAP_IDS: u8 = 0x02;
    pub(crate) const STARTED: u8 = 0x03;
    pub(crate) const STDOUT: u8 = 0x04;
    pub(crate) const STDERR: u8 = 0x05;
    pub(crate) const EXITED: u8 = 0x06;
    pub(crate) const CHANGES: u8 = 0x07;
    pub(crate) const CAPTURED: u8 = 0x08;
    pub(crate) const FAILED: u8 = 0x09;
    pub(crate) const DONE: u8 = 0x0a;
    pub(crate) const CONNECTED: u8 = 0x0b;
    pub(crate) const STREAM_REPORT: u8 = 0x0c;
    pub(crate) const LEFT_OUT: u8 = 0x0d;
    pub(crate) const DESCRIPTORS: u8 = 0x81;
    pub(crate) const SANDBOX: u8 = 0x82;
    pub(crate) const IDS_MAPPED: u8 = 0x83;
    pub(crate) const PROCESS: u8 = 0x84;
    pub(crate) const CAPTURE: u8 = 0x85;
    pub(crate) const UNPACK: u8 = 0x86;
    pub(crate) const REMOVE: u8 = 0x87;
    pub(crate) const CAPTURE_MOUNT: u8 = 0x88;
    pub(crate) const STREAM_REQUEST: u8 = 0x89;
    pub(crate) const MACHINE: u8 = 0x8a;
}

impl Request {
    /// The frame of this request.
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Descriptors(count) => Encoder::new(kind::DESCRIPTORS).u32(*count).finish(),
            Self::Machine(machine) => machine.encode(),
            Self::Sandbox(sandbox) => sandbox.encode(),
            Self::IdsMapped => Encoder::new(kind::IDS_MAPPED).finish(),
            Self::Process(process) => process.encode(),
            Self::Stream(stream, flow) => flow.encode(kind::STREAM_REQUEST, *stream),
            Self::Capture => Encoder::new(kind::CAPTURE).finish(),
            Self::CaptureMount(number) => Encoder::new(kind::CAPTURE_MOUNT).u32(*number).finish(),
            Self::Unpack => Encoder::new(kind::UNPACK).finish(),
            Self::Remove(name) => Encoder::new(kind::REMOVE).bytes(name).finish(),
        }
    }

    /// The request in a frame's `body`.
    pub(crate) fn decode(kind: u8, body: &[u8]) -> Result<Self, Malformed> {
        let mut body = Decoder(body);
        let request = match kind {
            kind::DESCRIPTORS => Self::Descriptors(body.u32()?),
            kind::MACHINE => Self::Machine(Machine::decode(&mut body)?),
            kind::SANDBOX => Self::Sandbox(Sandbox::decode(&mut body)?),
            kind::IDS_MAPPED => Self::IdsMapped,
            kind::PROCESS => Self::Process(Process::decode(&mut body)?),
            kind::STREAM_REQUEST => Flow::decode(&mut body).map(|(stream, flow)| Self::Stream(stream, flow))?,
            kind::CAPTURE => Self::Capture,
            kind::CAPTURE_MOUNT => Self::CaptureMount(body.u32()?),
            kind::UNPACK => Self::Unpack,
            kind::REMOVE => Self::Remove(body.bytes()?),
            _ => return Err(Malformed("a request of an unknown kind")),
        };
        body.end()?;
        Ok(request)
    }
}

impl Report {
    /// The frame of this report.
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(version) => Encoder::new(kind::HELLO).u32(*version).finish(),
            Self::MapIds => Encoder::new(kind::MAP_IDS).finish(),
            Self::Started => Encoder::new(kind::STARTED).finish(),
            Self::Stdout(bytes) => frame(kind::STDOUT, bytes),
            Self::Stderr(bytes) => frame(kind::STDERR, bytes),
            Self::Connected { stream, mount } => Encoder::new(kind::CONNECTED).u32(*stream).u32(*mount).finish(),
            Self::Stream(stream, flow) => flow.encode(kind::STREAM_REPORT, *stream),
            Self::Exited(exited) => exited.encode(),
            Self::Changes(bytes) => frame(kind::CHANGES, bytes),
            Self::LeftOut { sockets, first } => Encoder::new(kind::LEFT_OUT).u64(*sockets).bytes(first).finish(),
            Self::Captured => Encoder::new(kind::CAPTURED).finish(),
            Self::Done => Encoder::new(kind::DONE).finish(),
            Self::Failed(failure) => failure.encode(),
        }
    }

    /// The report in a frame's `body`.
    pub(crate) fn decode(kind: u8, body: &[u8]) -> Result<Self, Malformed> {
        let mut rest = Decoder(body);
        let report = match kind {
            kind::HELLO => Self::Hello(rest.u32()?),
            kind::MAP_IDS => Self::MapIds,
            kind::STARTED => Self::Started,
            kind::STDOUT => return Ok(Self::Stdout(body.to_vec())),
            kind::STDERR => return Ok(Self::Stderr(body.to_vec())),
            kind::EXITED => Self::Exited(Exited::decode(&mut rest)?),
            kind::CONNECTED => Self::Connected { stream: rest.u32()?, mount: rest.u32()? },
            kind::STREAM_REPORT => Flow::decode(&mut rest).map(|(stream, flow)| Self::Stream(stream, flow))?,
            kind::CHANGES => return Ok(Self::Changes(body.to_vec())),
            kind::LEFT_OUT => Self::LeftOut { sockets: rest.u64()?, first: rest.bytes()? },
            kind::CAPTURED => Self::Captured,
            kind::DONE => Self::Done,
            kind::FAILED => Self::Failed(Failure::decode(&mut rest)?),
            _ => return Err(Malformed("a report of an unknown kind")),
        };
        rest.end()?;
        Ok(report)
    }
}

impl Exited {
    fn encode(&self) -> Vec<u8> {
        let Account { peak_memory, out_of_memory, out_of_pids, out_of_scratch } = self.account;
        Encoder::new(kind::EXITED)
            .u32(self.status.into())
            .u64(self.cpu_micros)
            .u64(peak_memory)
            .u32(out_of_memory.into())
            .u32(out_of_pids.into())
            .u32(out_of_scratch.into())
            .finish()
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let status = from.u32()?.try_into().map_err(|_| Malformed("an exit status above 255"))?;
        let cpu_micros = from.u64()?;
        let account = Account {
            peak_memory: from.u64()?,
            out_of_memory: from.flag()?,
            out_of_pids: from.flag()?,
            out_of_scratch: from.flag()?,
        };
        Ok(Self { status, cpu_micros, account })
    }
}

impl Machine {
    fn encode(&self) -> Vec<u8> {
        let mut to = Encoder::new(kind::MACHINE).u64(self.memory).u64(self.pids).len(self.layers.len());
        for (start, length) in &self.layers {
            to = to.u64(*start).u64(*length);
        }
        to.finish()
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let (memory, pids) = (from.u64()?, from.u64()?);
        let layers = (0..from.count()?).map(|_| Ok((from.u64()?, from.u64()?))).collect::<Result<_, _>>()?;
        Ok(Self { layers, memory, pids })
    }
}

impl Sandbox {
    fn encode(&self) -> Vec<u8> {
        let mut to = Encoder::new(kind::SANDBOX)
            .u32(self.user_namespace.into())
            .u32(self.host_network.into())
            .bytes(&self.hostname)
            .bytes(&self.hosts)
            .bytes(&self.resolv_conf)
            .list(&self.cgroups)
            .len(self.programs.len());
        for program in &self.programs {
            to = to.bytes(&program.path).bytes(&program.content);
        }
        to = to.lowers(&self.lowers).len(self.mounts.len());
        for Mount { target, content } in &self.mounts {
            to = match content {
                Content::Tree { lowers, source, is_directory, access } => {
                    to.u32(0).lowers(lowers).bytes(source).u32((*is_directory).into()).u32(match access {
                        Access::ReadOnly => 0,
                        Access::Discarded => 1,
                        Access::Captured => 2,
                    })
                }
                Content::Tmpfs { size } => to.u32(1).u64(*size),
                Content::File { content, mode, uid, gid } => to.u32(2).bytes(content).u32(*mode).u32(*uid).u32(*gid),
                Content::Socket { mode, uid, gid } => to.u32(3).u32(*mode).u32(*uid).u32(*gid),
            };
            to = to.bytes(target);
        }
        to.finish()
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let mut sandbox = Self {
            user_namespace: from.flag()?,
            host_network: from.flag()?,
            hostname: from.bytes()?,
            hosts: from.bytes()?,
            resolv_conf: from.bytes()?,
            cgroups: from.list()?,
            ..Self::default()
        };
        for _ in 0..from.count()? {
            sandbox.programs.push(Program { path: from.bytes()?, content: from.bytes()? });
        }
        sandbox.lowers = from.lowers()?;
        for _ in 0..from.count()? {
            let content = match from.u32()? {
                0 => Content::Tree {
                    lowers: from.lowers()?,
                    source: from.bytes()?,
                    is_directory: from.flag()?,
                    access: match from.u32()? {
                        0 => Access::ReadOnly,
                        1 => Access::Discarded,
                        2 => Access::Captured,
                        _ => return Err(Malformed("an access of an unknown kind")),
                    },
                },
                1 => Content::Tmpfs { size: from.u64()? },
                2 => Content::File { content: from.bytes()?, mode: from.u32()?, uid: from.u32()?, gid: from.u32()? },
                3 => Content::Socket { mode: from.u32()?, uid: from.u32()?, gid: from.u32()? },
                _ => return Err(Malformed("a mount of an unknown kind")),
            };
            sandbox.mounts.push(Mount { target: from.bytes()?, content });
        }
        Ok(sandbox)
    }
}

impl Process {
    fn encode(&self) -> Vec<u8> {
        let mut to = Encoder::new(kind::PROCESS)
            .list(&self.args)
            .list(&self.env)
            .bytes(&self.cwd)
            .u32(self.uid)
            .u32(self.gid)
            .len(self.groups.len());
        for group in &self.groups {
            to = to.u32(*group);
        }
        to.u64(self.capabilities).bytes(&self.seccomp).finish()
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let (args, env, cwd) = (from.list()?, from.list()?, from.bytes()?);
        let (uid, gid) = (from.u32()?, from.u32()?);
        let mut groups = Vec::new();
        for _ in 0..from.count()? {
            groups.push(from.u32()?);
        }
        Ok(Self { args, env, cwd, uid, gid, groups, capabilities: from.u64()?, seccomp: from.bytes()? })
    }
}

impl Failure {
    fn encode(&self) -> Vec<u8> {
        let kind = match self.kind {
            FailureKind::Setup => 0,
            FailureKind::Start => 1,
            FailureKind::Capture => 2,
            FailureKind::Protocol => 3,
        };
        Encoder::new(kind::FAILED)
            .u32(kind)
            .u32(self.errno.cast_unsigned())
            .bytes(self.action.as_bytes())
            .bytes(self.reason.as_bytes())
            .finish()
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let kind = match from.u32()? {
            0 => FailureKind::Setup,
            1 => FailureKind::Start,
            2 => FailureKind::Capture,
            3 => FailureKind::Protocol,
            _ => return Err(Malformed("a failure of an unknown kind")),
        };
        let errno = from.u32()?.cast_signed();
        let (action, reason) = (from.text()?, from.text()?);
        Ok(Self { kind, errno, action, reason })
    }
}

/// A frame around `body`, which is at most `u32::MAX` bytes.
pub(crate) fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER + body.len());
    frame.extend(header(kind, body.len()));
    frame.extend(body);
    frame
}

/// The header of a frame whose body has `length` bytes.
pub(crate) fn header(kind: u8, length: usize) -> [u8; HEADER] {
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    [kind, 0, 0, 0, a, b, c, d]
}

/// The kind and the length that a header announces, once it is known to be at most `limit`.
pub(crate) fn parse_header(header: [u8; HEADER], limit: usize) -> Result<(u8, usize), Malformed> {
    let [kind, 0, 0, 0, a, b, c, d] = header else { return Err(Malformed("bytes that are no frame")) };
    match usize::try_from(u32::from_le_bytes([a, b, c, d])) {
        Ok(length) if length <= limit => Ok((kind, length)),
        _ => Err(Malformed("a frame over the size limit")),
    }
}
