//! `WORKDIR`: the directory exists afterwards.

use std::collections::BTreeMap;

use super::{
    Made, Solved, Solver,
    error::StepError,
    ground::{Ground, Owner},
    key,
    run::accounts,
};
use crate::{
    plan::{Step, Workdir},
    snapshot::Snapshot,
};

impl Solver {
    pub(super) async fn workdir(&self, step: &Step, workdir: &Workdir, parent: Snapshot) -> Result<Solved, StepError> {
        let readers = self.readers.clone();
        let (snapshot, path, user) = (parent.clone(), workdir.path.clone(), workdir.user.clone());
        let arrangement = self
            .work(move || {
                let mut ground = Ground::new(readers.overlay(&snapshot)?);
                let target = ground.resolve(&path)?;
                // A directory that is there keeps its owner and needs no layer.
                if ground.find(&target)? == super::ground::Found::Directory {
                    return Ok(ground.arrangement);
                }
                let user = accounts(ground.below())?.user(&user)?;
                ground.directory(&target, Owner { uid: user.uid, gid: user.gid })?;
                Ok(ground.arrangement)
            })
            .await?;
        let key = key::arranged(self, "workdir", &arrangement);
        self.cached(step, parent, key, None, || async move {
            let layer = match arrangement.is_empty() {
                true => None,
                false => Some(self.pack(arrangement, Vec::new()).await?),
            };
            Ok(Made { layer, data: BTreeMap::new() })
        })
        .await
    }
}
