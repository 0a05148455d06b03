use std::pin::Pin;

use async_trait::async_trait;
use proptest::prelude::*;
use tokio::io::DuplexStream;

use super::*;
use crate::executor::{
    MountContent,
    protocol::{Access, Content, Flow, Lower, Mount, Process, Program, Sandbox, kind},
};

/// Keeps what comes.
#[derive(Default)]
struct Kept {
    stdout: Vec<u8>,
    changes: Vec<u8>,
    left_out: Vec<(u64, Vec<u8>)>,
}

#[async_trait]
impl StepIo for Kept {
    async fn stdout(&mut self, bytes: &[u8]) {
        self.stdout.extend(bytes);
    }

    async fn stderr(&mut self, _: &[u8]) {}

    fn changes(&mut self) -> &mut (dyn AsyncWrite + Send + Unpin) {
        &mut self.changes
    }

    fn mount_changes(&mut self, _: usize) -> &mut (dyn AsyncWrite + Send + Unpin) {
        &mut self.changes
    }

    async fn sockets_left_out(&mut self, sockets: u64, first: &[u8]) {
        self.left_out.push((sockets, first.to_vec()));
    }
}

/// A stream on which an agent has said `frames` and then hung up.
async fn after(frames: &[Vec<u8>]) -> DuplexStream {
    let (ours, mut theirs) = tokio::io::duplex(1 << 20);
    for frame in frames {
        theirs.write_all(frame).await.unwrap();
    }
    ours
}

/// A session with an agent that said hello and then `frames`.
async fn session(frames: &[Vec<u8>]) -> Session<DuplexStream> {
    let hello = [Report::Hello(protocol::VERSION).encode()];
    Session::open(after(&[&hello, frames].concat()).await, None).await.unwrap()
}

async fn follow(frames: &[Vec<u8>]) -> Result<Exited, String> {
    session(frames).await.follow(&[], &mut Kept::default()).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn an_agent_must_say_hello_in_the_same_version() {
    for frames in [
        vec![],
        vec![Report::Hello(protocol::VERSION + 1).encode()],
        vec![Report::Started.encode()],
        vec![b"SSH-2.0-OpenSSH\r\n".to_vec()],
        vec![protocol::header(kind::HELLO, 4).to_vec()],
        vec![protocol::header(kind::HELLO, usize::MAX).to_vec()],
    ] {
        let error = Session::open(after(&frames).await, None).await.unwrap_err();
        assert!(matches!(error, ExecutorError::Lost(_)), "{frames:?}: {error}");
    }
}

#[tokio::test]
async fn output_is_passed_on_until_the_process_ends() {
    let exited = Exited { status: 3, cpu_micros: 5, ..Exited::default() };
    let frames = [
        Report::Started.encode(),
        Report::Stdout(b"one ".to_vec()).encode(),
        Report::Stderr(b"error".to_vec()).encode(),
        Report::Stdout(b"two".to_vec()).encode(),
        Report::Exited(exited).encode(),
    ];
    let mut kept = Kept::default();
    assert_eq!(session(&frames).await.follow(&[], &mut kept).await.unwrap(), exited);
    assert_eq!(kept.stdout, b"one two");
}

#[tokio::test]
async fn an_agent_that_breaks_the_order_is_lost() {
    let started = Report::Started.encode();
    let exited = Report::Exited(Exited::default()).encode();
    let mut above_255 = exited.clone();
    above_255[HEADER + 1] = 1;
    for frames in [
        vec![],
        vec![exited],
        vec![Report::Stdout(Vec::new()).encode()],
        vec![started.clone()],
        vec![started.clone(), started.clone()],
        vec![started.clone(), Report::Changes(Vec::new()).encode()],
        vec![started.clone(), Report::Captured.encode()],
        vec![started.clone(), above_255],
        vec![started.clone(), vec![0x7f, 0, 0, 0, 0, 0, 0, 0]],
        vec![started.clone(), vec![kind::STDOUT, 0, 0, 1, 0, 0, 0, 0]],
        vec![started.clone(), protocol::header(kind::STDOUT, MAX_REPORT + 1).to_vec()],
        vec![started, protocol::header(kind::STDOUT, MAX_REPORT).to_vec(), vec![0; 10]],
    ] {
        let said = follow(&frames).await.unwrap_err();
        assert!(said.starts_with("the sandbox was lost"), "{frames:?}: {said}");
    }
}

#[tokio::test]
async fn what_an_agent_says_of_a_failure_stays_one_line() {
    let failure = |kind, errno, action: &str, reason: &str| {
        Report::Failed(Failure { kind, action: action.to_owned(), errno, reason: reason.to_owned() }).encode()
    };
    let hostile = "mount\n\x1b[2Jerror: ";
    let error = session(&[failure(FailureKind::Setup, 13, &hostile.repeat(1000), "")])
        .await
        .follow(&[], &mut Kept::default())
        .await
        .unwrap_err();
    let ExecutorError::Setup { action, source } = error else { panic!("{error}") };
    assert!(action.len() <= 1000 && !action.contains(char::is_control), "{action}");
    assert_eq!(source.kind(), io::ErrorKind::PermissionDenied);

    let error = session(&[failure(FailureKind::Start, 0, "start the process", "not found")])
        .await
        .follow(&[], &mut Kept::default())
        .await
        .unwrap_err();
    assert!(matches!(&error, ExecutorError::Start { reason, .. } if reason == "not found"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn time_counts_wherever_it_is_spent() {
    let hello = Report::Hello(protocol::VERSION).encode();
    let started = Report::Started.encode();
    for words in [vec![], vec![hello.clone()], vec![hello, started]] {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let begin = Instant::now();
        let agent = async {
            for word in &words {
                tokio::time::sleep(Duration::from_secs(2)).await;
                theirs.write_all(word).await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        let mut kept = Kept::default();
        let step = async {
            let mut session = Session::open(ours, deadline(Some(Duration::from_secs(5)))).await?;
            session.send(&Request::Capture).await?;
            session.follow(&[], &mut kept).await
        };
        let error = tokio::select! { result = step => result.unwrap_err(), () = agent => unreachable!() };
        assert!(matches!(error, ExecutorError::Limit { exceeded: Exceeded::Time, status: None }), "{error}");
        assert_eq!(begin.elapsed().as_secs(), 5);
    }
}

#[tokio::test(start_paused = true)]
async fn the_capture_of_changes_counts() {
    let exited = Report::Exited(Exited::default());
    let frames = [Report::Hello(protocol::VERSION), Report::Started, exited].map(|report| report.encode());
    let (ours, mut theirs) = tokio::io::duplex(1 << 16);
    theirs.write_all(&frames.concat()).await.unwrap();
    let mut session = Session::open(ours, deadline(Some(Duration::from_secs(5)))).await.unwrap();
    let begin = Instant::now();
    let mut kept = Kept::default();
    session.follow(&[], &mut kept).await.unwrap();
    let agent = async {
        // Changes without an end.
        loop {
            theirs.write_all(&Report::Changes(vec![0; 100]).encode()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let error =
        tokio::select! { result = session.capture(&mut kept) => result.unwrap_err(), () = agent => unreachable!() };
    assert!(matches!(error, ExecutorError::Limit { exceeded: Exceeded::Time, status: None }), "{error}");
    assert_eq!(begin.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_says_nothing_is_given_up() {
    let (ours, _theirs) = tokio::io::duplex(64);
    let error = Session::open(ours, None).await.unwrap_err();
    assert!(error.to_string().contains("said nothing"), "{error}");
}

#[tokio::test]
async fn sockets_that_the_changes_lack_are_told_once() {
    let left_out = Report::LeftOut { sockets: 2, first: b"run/s".to_vec() }.encode();
    let mut kept = Kept::default();
    capture(&[left_out.clone(), Report::Captured.encode()], &mut kept).await.unwrap();
    assert_eq!(kept.left_out, [(2, b"run/s".to_vec())]);
    let twice = capture(&[left_out.clone(), left_out, Report::Captured.encode()], &mut kept).await;
    assert!(matches!(twice, Err(ExecutorError::Lost(_))), "{twice:?}");
}

#[tokio::test]
async fn changes_are_passed_on_whole_or_not_at_all() {
    let (mut ours, mut theirs) = (Kept::default(), Kept::default());
    let parts = [Report::Changes(b"tar ".to_vec()).encode(), Report::Changes(b"file".to_vec()).encode()];
    let complete = [&parts[..], &[Report::Captured.encode()]].concat();
    // The other end takes the request that comes before.
    let whole = capture(&complete, &mut ours).await;
    assert!(whole.is_ok(), "{whole:?}");
    assert_eq!(ours.changes, b"tar file");
    assert!(matches!(capture(&parts, &mut theirs).await, Err(ExecutorError::Lost(_))));
    // With nothing in them they could come for ever.
    let empty = [Report::Changes(Vec::new()).encode(), Report::Captured.encode()];
    assert!(matches!(capture(&empty, &mut Kept::default()).await, Err(ExecutorError::Lost(_))));
}

async fn capture(frames: &[Vec<u8>], kept: &mut Kept) -> Result<(), ExecutorError> {
    let (ours, mut theirs) = tokio::io::duplex(1 << 16);
    theirs.write_all(&Report::Hello(protocol::VERSION).encode()).await.unwrap();
    let mut session = Session::open(ours, None).await.unwrap();
    let agent = async move {
        let mut request = [0; HEADER];
        theirs.read_exact(&mut request).await.unwrap();
        assert_eq!(request, protocol::header(kind::CAPTURE, 0));
        for frame in frames {
            theirs.write_all(frame).await.unwrap();
        }
    };
    let capture: Pin<Box<dyn Future<Output = _> + '_>> = Box::pin(session.capture(kept));
    tokio::join!(capture, agent).0
}

#[test]
fn requests_come_out_as_they_went_in() {
    let sandbox = Sandbox {
        user_namespace: true,
        host_network: false,
        hostname: b"hypr".to_vec(),
        hosts: b"127.0.0.1".to_vec(),
        resolv_conf: Vec::new(),
        programs: vec![Program { path: b"/dev/x".to_vec(), content: vec![0, 255] }],
        cgroups: vec![b"a".to_vec(), Vec::new()],
        lowers: vec![Lower::Mount, Lower::Directory(b"/l".to_vec())],
        mounts: [
            Content::Tree {
                lowers: vec![Lower::Mount],
                source: b"a/b".to_vec(),
                is_directory: false,
                access: Access::Captured,
            },
            Content::Tmpfs { size: 5 },
            Content::File { content: vec![0, 1], mode: 0o400, uid: 3, gid: 4 },
            Content::Socket { mode: 0o600, uid: 5, gid: 6 },
        ]
        .map(|content| Mount { target: b"/m".to_vec(), content })
        .into(),
    };
    let process = Process {
        args: vec![b"sh".to_vec()],
        env: vec![b"A=\xff".to_vec()],
        cwd: b"/".to_vec(),
        uid: 1,
        gid: u32::MAX,
        groups: vec![3, 4],
        capabilities: u64::MAX - 1,
        seccomp: vec![7; 16],
    };
    for request in [
        Request::Descriptors(7),
        Request::Sandbox(sandbox),
        Request::IdsMapped,
        Request::Process(process),
        Request::Capture,
        Request::CaptureMount(9),
        Request::Stream(1, Flow::Data(vec![0, 1])),
        Request::Stream(u32::MAX, Flow::Taken(5)),
        Request::Stream(0, Flow::End),
        Request::Stream(2, Flow::Close),
    ] {
        let frame = request.encode();
        let (header, body) = frame.split_first_chunk().unwrap();
        assert_eq!(protocol::parse_header(*header, MAX_REPORT), Ok((frame[0], body.len())));
        assert_eq!(Request::decode(frame[0], body), Ok(request));
        // Cut anywhere, it is none.
        for cut in 0..body.len() {
            assert!(Request::decode(frame[0], &body[..cut]).is_err());
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_upset_the_reader(kind: u8, body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Report::decode(kind, &body);
        let _ = Request::decode(kind, &body);
    }

    #[test]
    fn reports_come_out_as_they_went_in(status: u8, cpu_micros: u64, errno: i32, text in ".{0,40}", bytes: Vec<u8>) {
        let failure = |kind| Failure { kind, action: text.clone(), errno, reason: text.clone() };
        for report in [
            Report::Exited(Exited { status, cpu_micros, ..Exited::default() }),
            Report::Stdout(bytes.clone()),
            Report::Changes(bytes),
            Report::Connected { stream: errno.cast_unsigned(), mount: status.into() },
            Report::Stream(status.into(), Flow::Taken(9)),
            Report::Failed(failure(FailureKind::Setup)),
            Report::Failed(failure(FailureKind::Start)),
            Report::Failed(failure(FailureKind::Capture)),
            Report::Failed(failure(FailureKind::Protocol)),
        ] {
            let frame = report.encode();
            prop_assert_eq!(Report::decode(frame[0], &frame[HEADER..]), Ok(report));
        }
    }
}

/// A mount that leads to an agent that is not there.
fn mounts() -> [super::Mount; 2] {
    let content = MountContent::SshAgent { socket: "/nothing".into(), mode: 0, uid: 0, gid: 0 };
    [MountContent::Tmpfs { size: None }, content].map(|content| super::Mount { target: "/m".to_owned(), content })
}

#[tokio::test]
async fn an_agent_that_breaks_the_rules_of_streams_is_lost() {
    let connected = |stream| Report::Connected { stream, mount: 1 };
    let data = |stream, count| Report::Stream(stream, Flow::Data(vec![0; count]));
    let most = u32::try_from(protocol::MAX_STREAMS).unwrap();
    for wrong in [
        vec![data(0, 1)],
        vec![Report::Stream(0, Flow::Close)],
        vec![Report::Connected { stream: 0, mount: 0 }],
        vec![Report::Connected { stream: 0, mount: 2 }],
        vec![Report::Connected { stream: 1, mount: 1 }],
        vec![connected(0), connected(0)],
        vec![connected(0), data(0, 0)],
        vec![connected(0), data(0, protocol::MAX_DATA + 1)],
        vec![connected(0), Report::Stream(0, Flow::Taken(1))],
        vec![connected(0), Report::Stream(0, Flow::Taken(u32::MAX))],
        // Nothing of it is taken, since nothing waits between these words.
        [vec![connected(0)], vec![data(0, protocol::MAX_DATA); 5]].concat(),
        (0..=most).map(connected).collect(),
    ] {
        let frames: Vec<_> = [Report::Started].iter().chain(&wrong).map(Report::encode).collect();
        let mut kept = Kept::default();
        let followed = session(&frames).await.follow(&mounts(), &mut kept).await;
        let said = followed.unwrap_err().to_string();
        assert!(said.starts_with("the sandbox was lost"), "{wrong:?}: {said}");
    }
}

#[tokio::test]
async fn an_agent_that_opens_and_closes_but_never_listens_holds_no_connections() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let content = MountContent::SshAgent { socket, mode: 0, uid: 0, gid: 0 };
    let mounts = [super::Mount { target: "/m".to_owned(), content }];
    // A frame of an agent's protocol, so that each stream has something to say to a sandbox that takes nothing.
    let count = 40 * u32::try_from(protocol::MAX_STREAMS).unwrap();
    let words = (0..count).flat_map(|stream| {
        let words = [Flow::Data(vec![0, 0, 0, 1, 11]), Flow::Close];
        [Report::Connected { stream, mount: 0 }].into_iter().chain(words.map(|flow| Report::Stream(stream, flow)))
    });
    let (ours, mut theirs) = tokio::io::duplex(256);
    let talk = async {
        theirs.write_all(&Report::Hello(protocol::VERSION).encode()).await.unwrap();
        for frame in [Report::Started].into_iter().chain(words).map(|report| report.encode()) {
            theirs.write_all(&frame).await.unwrap();
            tokio::task::yield_now().await;
        }
        theirs
    };
    let mut kept = Kept::default();
    let follow = async {
        let mut session = Session::open(ours, None).await.unwrap();
        session.follow(&mounts, &mut kept).await
    };
    // What is accepted is kept open, as an agent would.
    let accept = async {
        let mut open = Vec::new();
        loop {
            open.retain(is_open);
            assert!(open.len() <= 2 * protocol::MAX_STREAMS, "{} connections", open.len());
            open.push(listener.accept().await.unwrap().0);
        }
    };
    tokio::select! {
        followed = follow => panic!("{followed:?}"),
        () = accept => {}
        _theirs = talk => {}
    }
}

/// Whether the other end of a connection is still there.
fn is_open(connection: &tokio::net::UnixStream) -> bool {
    !matches!(connection.try_read(&mut [0; 64]), Ok(0))
}

#[tokio::test]
async fn a_stream_that_was_closed_is_forgotten() {
    let most = u32::try_from(protocol::MAX_STREAMS).unwrap();
    let closed = (0..3 * most).flat_map(|stream| {
        let words = [Flow::Data(vec![1]), Flow::End, Flow::Close, Flow::Data(vec![2])];
        let words = words.map(|flow| Report::Stream(stream, flow));
        [Report::Connected { stream, mount: 1 }].into_iter().chain(words)
    });
    let reports = [Report::Started].into_iter().chain(closed).chain([Report::Exited(Exited::default())]);
    let frames: Vec<_> = reports.map(|report| report.encode()).collect();
    let followed = session(&frames).await.follow(&mounts(), &mut Kept::default()).await;
    assert_eq!(followed.unwrap(), Exited::default());
}
