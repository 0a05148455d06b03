//! Which stages the target needs, each after those that it needs itself.

use std::collections::BTreeMap;

use super::{
    MAX_ERRORS, Request,
    budget::Budget,
    error::{PlanError, Problem},
    graph::ImageRequest,
    mount::Options,
    stages::{Source, StageBase, Stages, Task},
};
use crate::{
    dockerfile::{self, Instruction, Span, Spanned},
    image::ImageConfig,
};

/// The order, or what is missing to know it.
#[derive(Debug)]
pub(crate) enum Order {
    /// Each after those that it needs.
    Known(Vec<usize>),
    /// A base image may trigger a `COPY --from`, so its configuration is wanted; each with the line that names it.
    Needs(BTreeMap<ImageRequest, usize>),
}

/// Orders the stages by depth-first search without recursion: a hostile file has 50,000 of them in a row.
///
/// What is wrong with where an instruction takes files from goes to `faults`, and the instruction needs nothing.
pub(crate) fn order(
    stages: &Stages<'_>,
    request: &Request<'_>,
    images: &BTreeMap<ImageRequest, ImageConfig>,
    budget: &Budget,
    faults: &mut Vec<PlanError>,
) -> Result<Order, PlanError> {
    let mut wanted = BTreeMap::new();
    let mut order = Vec::new();
    let mut state = vec![State::Unseen; stages.stages.len()];
    let mut path: Vec<Visit> = Vec::new();
    let mut enter = |stage: usize, wanted: &mut BTreeMap<ImageRequest, usize>| -> Result<Visit, PlanError> {
        // Before they are read: here, and once more where the stage is built.
        let triggers = budget.triggers(&stages.triggers(stage, images));
        triggers.map_err(|problem| problem.at(stages.stages[stage].from.span))?;
        Ok(Visit { stage, open: needs(stages, request, images, stage, wanted, faults)? })
    };
    let roots = match request.all_stages {
        true => 0..stages.stages.len(),
        false => stages.target..stages.target + 1,
    };
    for root in roots {
        if state[root] == State::Unseen {
            state[root] = State::Open;
            path.push(enter(root, &mut wanted)?);
        }
        while let Some(visit) = path.last_mut() {
            let Some((next, span)) = visit.open.pop() else {
                state[visit.stage] = State::Done;
                order.push(visit.stage);
                path.pop();
                continue;
            };
            match state[next] {
                State::Done => {}
                State::Open => {
                    let circle = path.iter().skip_while(|visit| visit.stage != next).map(|visit| visit.stage);
                    let names: Vec<String> = circle.chain([next]).take(20).map(|stage| stages.label(stage)).collect();
                    return Err(Problem::Cycle(names).at(span));
                }
                State::Unseen => {
                    state[next] = State::Open;
                    path.push(enter(next, &mut wanted)?);
                }
            }
        }
    }
    Ok(if wanted.is_empty() { Order::Known(order) } else { Order::Needs(wanted) })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Unseen,
    Open,
    Done,
}

/// A stage on the path from the target, and what it needs that was not visited yet.
struct Visit {
    stage: usize,
    open: Vec<(usize, Span)>,
}

/// The stages that `stage` needs; images whose configuration is not known go to `wanted`, each with
/// the line that names it.
fn needs(
    stages: &Stages<'_>,
    request: &Request<'_>,
    images: &BTreeMap<ImageRequest, ImageConfig>,
    stage: usize,
    wanted: &mut BTreeMap<ImageRequest, usize>,
    faults: &mut Vec<PlanError>,
) -> Result<Vec<(usize, Span)>, PlanError> {
    let this = &stages.stages[stage];
    let mut needs = Vec::new();
    let mut want = |image: &ImageRequest, line: usize| {
        if !images.contains_key(image) {
            wanted.entry(image.clone()).or_insert(line);
        }
    };
    match &this.base {
        StageBase::Scratch => {}
        StageBase::Stage(base) => needs.push((*base, this.from.span)),
        StageBase::Image(image) => want(image, this.from.line),
    }
    for task in &stages.tasks(stage, images)? {
        for found in sources(task) {
            let source = found.and_then(|(from, span)| {
                let source = stages.source(request, stage, &from).map_err(|problem| problem.at(span))?;
                Ok((source, span))
            });
            match source {
                Ok((Source::Context(_), _)) => {}
                Ok((Source::Stage(source), span)) => needs.push((source, span)),
                Ok((Source::Image(image), _)) if image.name == "scratch" => {}
                Ok((Source::Image(image), _)) => want(&image, task.line),
                Err(fault) if faults.len() < MAX_ERRORS => faults.push(fault),
                Err(_) => {}
            }
        }
    }
    // The first need is visited first.
    needs.reverse();
    Ok(needs)
}

/// What an instruction takes files from, and where it says so.
fn sources(task: &Task<'_>) -> Vec<Result<(String, Span), PlanError>> {
    match &task.statement.instruction {
        Instruction::Copy(dockerfile::Copy { from: Some(from), .. }) if from.contains('$') => {
            vec![Err(Problem::VariableInFrom.at(task.span(from.span)))]
        }
        Instruction::Copy(dockerfile::Copy { from: Some(from), .. }) => {
            vec![Ok((from.value.clone(), task.span(from.span)))]
        }
        Instruction::Run(run) => {
            let source = |word: &Spanned<String>| {
                let options = Options::read(word)?;
                Ok(options.from()?.map(|from| (from.to_owned(), task.span(word.span))))
            };
            let place = |error: PlanError| PlanError { span: error.span.map(|span| task.span(span)), ..error };
            run.mounts.iter().filter_map(|word| source(word).map_err(place).transpose()).collect()
        }
        _ => Vec::new(),
    }
}
