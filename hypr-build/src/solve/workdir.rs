//! `WORKDIR`: the directory exists afterwards.

use super::{
    Solved, Solver,
    error::StepError,
    ground::{Found, Ground, Owner},
    key,
    run::accounts,
};
use crate::{
    plan::{Step, Workdir},
    snapshot::Snapshot,
};

impl Solver {
    pub(super) async fn workdir(&self, step: &Step, workdir: &Workdir, parent: Snapshot) -> Result<Solved, StepError> {
        let overlay = self.overlay(&parent).await?;
        let (path, user) = (workdir.path.clone(), workdir.user.clone());
        let arrangement = self
            .work(move || {
                let mut ground = Ground::new(overlay);
                let target = ground.resolve(&path)?;
                // A directory that is there keeps its owner and needs no layer.
                if ground.find(&target)? == Found::Directory {
                    return ground.finish();
                }
                // As `--chown` has it: of a number alone, the group has the same.
                let owner = match &*user {
                    "" => Owner::ROOT,
                    spec => {
                        let (uid, gid) = accounts(ground.below())?.owner(spec)?;
                        Owner { uid, gid }
                    }
                };
                ground.directory(&target, owner)?;
                ground.finish()
            })
            .await?;
        let key = key::arranged(self, "workdir", &arrangement);
        self.cached(step, parent, key, None, || self.make(arrangement, Vec::new(), None)).await
    }
}
