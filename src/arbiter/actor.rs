//! Hands the plan's moves to the mover, one at a time, and says what became of them.
//!
//! Level-triggered: it holds the cluster to the latest orders, and tries again what failed.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::act::leader::{MoveError, Mover, Nudges, progress};
use crate::cluster::objects::MoveOutcome;
use crate::decide::{Move, Progress};
use crate::evidence::{Epoch, Location};
use crate::telemetry::Chain;

/// How long to wait before what failed is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// What is to be done about one location's leader.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Order {
    /// Bring this move forward.
    Hold(Box<Move>, Nudges),
    /// End the move on record.
    Close(MoveOutcome),
}

/// The orders that stand, by location.
pub(super) type Orders = BTreeMap<Location, Order>;

/// Carries out orders in a task of its own, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Actor {
    orders: watch::Sender<Orders>,
    done: mpsc::UnboundedReceiver<(Location, Progress)>,
    _task: AbortOnDropHandle<()>,
}

impl Actor {
    /// Starts with no orders.
    pub(super) fn start(mover: Mover, epoch: Epoch) -> Self {
        let (orders, standing) = watch::channel(Orders::new());
        let (tell, done) = mpsc::unbounded_channel();
        let task = Task { mover, epoch, standing, tell };
        Self { orders, done, _task: AbortOnDropHandle::new(tokio::spawn(task.run())) }
    }

    /// Replaces the orders. The same orders again change nothing.
    pub(super) fn order(&self, orders: Orders) {
        self.orders.send_if_modified(|standing| {
            let differs = *standing != orders;
            *standing = orders;
            differs
        });
    }

    /// Waits for the next thing that was done.
    pub(super) async fn done(&mut self) -> (Location, Progress) {
        match self.done.recv().await {
            Some(done) => done,
            None => std::future::pending().await,
        }
    }
}

struct Task {
    mover: Mover,
    epoch: Epoch,
    standing: watch::Receiver<Orders>,
    tell: mpsc::UnboundedSender<(Location, Progress)>,
}

impl Task {
    async fn run(mut self) {
        self.take_over().await;
        loop {
            let orders = self.standing.borrow_and_update().clone();
            let mut failed = false;
            for (location, order) in &orders {
                failed |= !self.carry_out(location, order).await;
            }
            let changed = self.standing.changed();
            let ended = if failed {
                tokio::select! {
                    changed = changed => changed.is_err(),
                    () = sleep(AGAIN) => false,
                }
            } else {
                changed.await.is_err()
            };
            if ended {
                return;
            }
        }
    }

    /// Shuts out whoever held the lease before, and settles what that left half-made. Nothing else
    /// is written before.
    async fn take_over(&self) {
        while let Err(error) = self.mover.take_over().await {
            tracing::warn!(error = %Chain(&error), "Locations not taken over yet");
            sleep(AGAIN).await;
        }
    }

    /// Carries out one order; false if it should be tried again.
    async fn carry_out(&self, location: &Location, order: &Order) -> bool {
        match order {
            Order::Hold(wish, nudges) => {
                let held = self.mover.hold(location, wish, nudges).await;
                match held {
                    Ok(record) => {
                        self.say(location, progress(Some(&record), self.epoch));
                        true
                    }
                    Err(error) => self.failed(location, wish, &error),
                }
            }
            Order::Close(outcome) => match self.mover.close(location, *outcome, None).await {
                Ok(()) => {
                    self.say(location, Progress::Idle);
                    true
                }
                Err(error) => {
                    tracing::warn!(%location, error = %Chain(&error), "Move not closed yet");
                    false
                }
            },
        }
    }

    fn failed(&self, location: &Location, wish: &Move, error: &MoveError) -> bool {
        let why = Chain(error).to_string();
        let refused = error.is_refusal();
        tracing::warn!(%location, to = %wish.to, refused, error = why, "Move not written");
        if refused {
            let (to, decided) = (wish.to.clone(), wish.at);
            self.say(location, Progress::Refused { to, decided, why });
        }
        refused
    }

    fn say(&self, location: &Location, progress: Progress) {
        // Nobody listens any more only when the reign is over.
        let _over = self.tell.send((location.clone(), progress));
    }
}
