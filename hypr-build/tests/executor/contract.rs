//! What every executor has to do, whatever it is made of.

use hypr_build::executor::{Executor, ExecutorError};

use crate::{layers::Workshop, run::Step};

pub(crate) async fn exit_status_is_an_outcome(executor: &dyn Executor, workshop: &Workshop) {
    let busybox = workshop.busybox();
    for (script, status) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)] {
        let (outcome, recording) = Step::shell(&busybox, script).run(executor).await;
        assert_eq!(outcome.unwrap().status, status, "{script}\n{recording}");
    }
}
