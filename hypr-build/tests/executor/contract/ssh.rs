//! What a step gets of an SSH agent.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use hypr_build::{
    Snapshot,
    executor::{Executor, MountContent},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    task::JoinSet,
};

use crate::{
    layers::Workshop,
    programs,
    run::{Step, chain},
};

const AT: &str = "/run/agent/socket";

/// A small system with the program that asks an agent.
fn system(workshop: &Workshop) -> Snapshot {
    workshop.busybox_and(|layer| {
        layer.file("bin/ask", 0o755, &programs::program("ask"));
    })
}

/// An agent that says back what it is asked, or never answers.
struct Agent {
    socket: PathBuf,
    /// The first byte and the length of each request.
    heard: Arc<Mutex<Vec<(u8, usize)>>>,
    _tasks: JoinSet<()>,
}

impl Agent {
    fn start(workshop: &Workshop, answers: bool) -> Self {
        let socket = workshop.path().join("agent");
        let listener = UnixListener::bind(&socket).unwrap();
        let heard = Arc::<Mutex<Vec<_>>>::default();
        let (mut tasks, log) = (JoinSet::new(), Arc::clone(&heard));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&log), answers));
            }
        });
        Self { socket, heard, _tasks: tasks }
    }

    fn mount(&self, uid: u32) -> MountContent {
        MountContent::SshAgent { socket: self.socket.clone(), mode: 0o600, uid, gid: 7 }
    }

    fn heard(&self) -> Vec<(u8, usize)> {
        self.heard.lock().unwrap().clone()
    }
}

async fn serve(mut stream: UnixStream, heard: Arc<Mutex<Vec<(u8, usize)>>>, answers: bool) {
    while let Ok(length) = stream.read_u32().await {
        let mut message = vec![0; length as usize];
        stream.read_exact(&mut message).await.unwrap();
        heard.lock().unwrap().push((message[0], message.len()));
        if !answers {
            std::future::pending::<()>().await;
        }
        stream.write_u32(length).await.unwrap();
        stream.write_all(&message).await.unwrap();
    }
}

pub(crate) async fn an_agent_lists_and_signs_and_is_not_changed(executor: &dyn Executor, workshop: &Workshop) {
    let agent = Agent::start(workshop, true);
    let script = format!("ask {AT} 1 100; stat -c '%F %u %g %a' {AT}; ask /run/others 1 100; ls -A /run");
    let recording = Step::shell(&system(workshop), &script)
        .user(5, 5, &[])
        .mount(AT, agent.mount(5))
        .mount("/run/others", agent.mount(0))
        .succeed(executor)
        .await;
    let refused = "cannot connect: Permission denied (os error 13)";
    assert_eq!(recording.text(), format!("1 answered\nsocket 5 7 600\n{refused}\nagent\nothers\n"));
    assert_eq!(agent.heard(), [(13, 100)], "the removal of keys is not passed on");
    assert!(recording.paths().is_empty(), "{:?}", recording.paths());
}

pub(crate) async fn many_connections_and_long_messages_get_through(executor: &dyn Executor, workshop: &Workshop) {
    let agent = Agent::start(workshop, true);
    // More connections than are served at a time, messages longer than may be on their way.
    let script = format!("for i in 1 2 3; do ask {AT} 60 200000 & done; yes | head -c 3000000; wait");
    let recording = Step::shell(&system(workshop), &script).mount(AT, agent.mount(0)).succeed(executor).await;
    let text = recording.text();
    assert_eq!(text.matches("60 answered").count(), 3, "{}", &text[text.len().saturating_sub(300)..]);
    assert_eq!(agent.heard(), vec![(13, 200_000); 180]);
    assert!(recording.paths().is_empty(), "{:?}", recording.paths());
}

pub(crate) async fn a_step_ends_while_its_agent_is_asked(executor: &dyn Executor, workshop: &Workshop) {
    let agent = Agent::start(workshop, false);
    let script =
        format!("ask {AT} wait >/dev/shm/o & until grep -q asked /dev/shm/o; do sleep 0.01; done; echo x >/file");
    let recording = Step::shell(&system(workshop), &script).mount(AT, agent.mount(0)).succeed(executor).await;
    assert_eq!(recording.paths(), ["file"]);
}

pub(crate) async fn an_agent_that_is_gone_is_one_that_hangs_up(executor: &dyn Executor, workshop: &Workshop) {
    let agent = Agent::start(workshop, true);
    let mount = agent.mount(0);
    drop(agent);
    let step = Step::shell(&system(workshop), &format!("ask {AT} 1 5; echo $?")).mount(AT, mount);
    let (outcome, recording) = step.run(executor).await;
    assert_eq!(outcome.unwrap_or_else(|error| panic!("{}", chain(&error))).status, 0);
    assert!(recording.text().starts_with("connection 0: ") && recording.text().ends_with("\n2\n"), "{recording}");
}
