//! Leaders moved by hand, many times, without Tanist: what Kilo and WireGuard need by themselves,
//! beside what was measured with the real Kilo and a WireGuard that behaves as the kernel's.
//!
//! ```text
//! patch that moves ─▶ kilo0 up / down, peers, routes (Kilo) ─▶ handshakes (WireGuard) ─▶ flows pass
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kube::api::{Patch, PatchParams};
use serde::Serialize;
use serde_json::json;
use tokio::time::sleep;

use super::figures::Tally;
use super::mesh::{self, Mesh};
use super::namespace::{self, Inside, Namespace};
use super::run::{self, Options};
use super::timeline::Timeline;
use super::traffic::{Carrier, Fresh, Pair};
use crate::evidence::kilo::{Change, leader_of, members, promotion};
use crate::evidence::{Location, NodeName};

mod callers;
mod sight;
mod table;

use callers::Callers;
use sight::Sight;

/// The annotation that makes a leader.
const LEADER: &str = "kilo.squat.ai/leader";

/// How long a move is watched at most: what takes longer counts as never.
const LIMIT: Duration = Duration::from_secs(20);

/// How often we look.
const GLANCE: Duration = Duration::from_millis(5);

/// How long to go on watching once all seems well: a lost flow is known as such after half a second.
const AFTER: Duration = Duration::from_millis(1500);

/// A kept flow that was answered this lately goes on.
const ALIVE: Duration = Duration::from_millis(450);

/// What went wrong with the moves.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The mesh.
    #[error(transparent)]
    Run(#[from] run::Error),
    /// A namespace.
    #[error("could not look at a node")]
    Namespace(#[from] namespace::Error),
}

impl From<mesh::Error> for Error {
    fn from(error: mesh::Error) -> Self {
        Self::Run(error.into())
    }
}

/// What one move took, from the patch that moves the leader. None: not within the time watched.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Moved {
    /// Where.
    pub location: Location,
    /// Who led.
    pub from: NodeName,
    /// Who leads.
    pub to: NodeName,
    /// The new leader's kilo0 is up.
    pub up: Option<Duration>,
    /// The old leader's kilo0 is down.
    pub down: Option<Duration>,
    /// All other leaders have the new leader as their peer.
    pub peers: Option<Duration>,
    /// The last member's last route leads to the new leader.
    pub routes: Option<Duration>,
    /// Every leader has a new session with every other.
    pub handshakes: Option<Duration>,
    /// How long fresh UDP flows of the location's other members were lost, in the worse direction
    /// to the worse location.
    pub outage: Option<Duration>,
    /// The longest silence of a kept TCP connection of these.
    pub stall: Option<Duration>,
    /// The same for flows between two other locations.
    pub elsewhere: Option<Duration>,
    /// The same.
    pub elsewhere_stall: Option<Duration>,
    /// Fresh flows of the whole mesh meanwhile.
    pub flows: Tally,
}

/// Who speaks while a leader moves: it decides who begins the handshakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speakers {
    /// The users of all locations, both ways all the time.
    All,
    /// One node of each location but the one that moves; nobody answers.
    OthersOnly,
}

/// All moves.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Moves {
    /// The program's version.
    pub version: &'static str,
    /// Locations and nodes in each.
    pub mesh: [usize; 2],
    /// Every move while all users speak.
    pub moves: Vec<Moved>,
    /// Every move while only other locations speak, to this one and to each other: there are no
    /// users who could lose anything.
    pub one_sided: Vec<Moved>,
}

/// Builds a mesh and moves leaders by hand so many times, and as often again while only other
/// locations speak; locations take turns.
pub async fn make(
    (options, count): (&Options, usize),
    (inside, wan): (Inside, Namespace),
    timeline: &Timeline,
) -> Result<(Moves, Mesh), Error> {
    let (mut mesh, _launch, _chronicle) = run::begin(options, inside, wan, timeline).await?;
    timeline.now(&format!("{count} moves while all users speak"));
    let moves = series(&mut mesh, count, Speakers::All, timeline).await?;
    mesh.traffic.stop();
    timeline.now(&format!("{count} moves while only other locations speak"));
    let one_sided = series(&mut mesh, count, Speakers::OthersOnly, timeline).await?;

    let (version, shape) = (env!("CARGO_PKG_VERSION"), [options.locations, options.nodes]);
    Ok((Moves { version, mesh: shape, moves, one_sided }, mesh))
}

async fn series(
    mesh: &mut Mesh,
    count: usize,
    speakers: Speakers,
    timeline: &Timeline,
) -> Result<Vec<Moved>, Error> {
    let locations = mesh.network.topology.locations();
    let mut moves = Vec::new();
    for turn in 0..count {
        let location = &locations[(turn + 1) % locations.len()];
        let callers = match speakers {
            Speakers::All => None,
            Speakers::OthersOnly => Some(Callers::start(mesh, location).await?),
        };
        let Some(moved) = make_one(mesh, location).await? else { continue };
        drop(callers);
        let took = moved.handshakes.map_or_else(
            || format!("no handshakes within {} s", LIMIT.as_secs()),
            |took| format!("all handshakes after {:.3} s", took.as_secs_f64()),
        );
        let (number, place) = (turn + 1, format!("{} → {}", moved.from, moved.to));
        timeline.now(&format!("move {number} of {count}: {place}: {took}"));
        moves.push(moved);
        if speakers == Speakers::All {
            mesh.settle().await?;
        }
    }
    Ok(moves)
}

/// Moves the leader of a location to the next node by name, after the last to the first again:
/// so the adding patch moves it in some turns, and the removing one in others.
async fn make_one(mesh: &mut Mesh, location: &Location) -> Result<Option<Moved>, Error> {
    let cluster = mesh.control.mesh(mesh::now()).await.map_err(mesh::Error::from)?;
    let leader = leader_of(&cluster, location).map(|node| node.name.clone());
    let names = members(&cluster, location).into_iter().map(|node| node.name.clone());
    let names = names.collect::<Vec<_>>();
    let Some(from) = leader.filter(|_| names.len() > 1) else { return Ok(None) };
    let next = names.iter().find(|name| **name > from).unwrap_or(&names[0]);
    let to = next.clone();

    let leaders = mesh.leaders().await?;
    let others = leaders.into_iter().filter(|(other, _)| other != location);
    let others = others.map(|(_, node)| node).collect::<Vec<_>>();
    let sight = Sight::begin(mesh, location, (&from, &to), &others).await?;
    mesh.traffic.forget();

    let (began, mut after) = (Instant::now(), cluster.clone());
    let mut at = None;
    for change in promotion(&cluster, &to) {
        let patched = Instant::now();
        annotate(mesh, &change.node, change.change).await?;
        if let Some(node) = after.nodes.get_mut(&change.node) {
            node.leader = change.change == Change::Add;
        }
        if leader_of(&after, location).is_some_and(|node| node.name == to) {
            at.get_or_insert(patched);
        }
    }
    let at = at.unwrap_or(began);
    let seen = watch(mesh, sight, (began, location)).await;

    let moved = Moved { location: location.clone(), from, to, ..seen.moved(at) };
    Ok(Some(flows(mesh, moved, began)))
}

async fn annotate(mesh: &Mesh, node: &NodeName, change: Change) -> Result<(), Error> {
    let value = (change == Change::Add).then_some("true");
    let annotation = json!({ "metadata": { "annotations": { LEADER: value } } });
    let (nodes, params) = (mesh.control.nodes(), PatchParams::default());
    let written = nodes.patch(&node.0, &params, &Patch::Merge(annotation)).await;
    written.map(|_| ()).map_err(|source| {
        run::Error::Annotate { node: node.clone(), source: Box::new(source) }.into()
    })
}

/// Watches until all is done and flows have passed for a while, or too much time has passed.
async fn watch(mesh: &Mesh, mut sight: Sight, (began, location): (Instant, &Location)) -> Sight {
    let mut well = None;
    while began.elapsed() < LIMIT {
        sight.look().await;
        if sight.is_done() && kept_go_on(mesh, location) {
            if well.get_or_insert_with(Instant::now).elapsed() >= AFTER {
                break;
            }
        } else {
            well = None;
        }
        sleep(GLANCE).await;
    }
    sight
}

/// Tells whether the kept connections between nodes that did not change their part go on.
fn kept_go_on(mesh: &Mesh, location: &Location) -> bool {
    if mesh.traffic.is_stopped() {
        return true;
    }
    let seen = mesh.traffic.reader().seen();
    let mut kept = seen.kept.iter().filter(|((pair, carrier), kept)| {
        *carrier == Carrier::Tcp && !kept.broken && mesh.location(&pair.from) != Some(location)
    });
    kept.all(|(_, kept)| kept.last.elapsed() < ALIVE)
}

/// Adds what the users saw.
fn flows(mesh: &Mesh, mut moved: Moved, began: Instant) -> Moved {
    let part = |pair: &Pair| {
        if [&moved.from, &moved.to].iter().any(|node| pair.from == **node || pair.to == **node) {
            return None;
        }
        let ends = (mesh.location(&pair.from)?.clone(), mesh.location(&pair.to)?.clone());
        let member = ends.0 == moved.location || ends.1 == moved.location;
        Some((member, ends))
    };

    // One sequence for each pair of locations: each is carried by a session of its own.
    let mut sequences = BTreeMap::<_, Vec<Fresh>>::new();
    for flow in mesh.traffic.since(began) {
        moved.flows.count(&flow);
        if flow.carrier == Carrier::Udp
            && let Some(part) = part(&flow.pair)
        {
            sequences.entry(part).or_default().push(flow);
        }
    }
    let worst = |wanted: bool| {
        let of = sequences.iter().filter(|((member, _), _)| *member == wanted);
        of.map(|(_, flows)| outage(flows))
            .try_fold(Duration::ZERO, |most, one| Some(most.max(one?)))
    };
    let kept = mesh.traffic.reader().seen().kept;
    let stall = |wanted: bool| {
        let of = kept.iter().filter(|((pair, carrier), _)| {
            *carrier == Carrier::Tcp && part(pair).is_some_and(|(member, _)| member == wanted)
        });
        of.map(|(_, kept)| {
            let goes_on = !kept.broken && kept.last.elapsed() < 2 * ALIVE;
            goes_on.then_some(kept.stall)
        })
        .try_fold(Duration::ZERO, |most, one| Some(most.max(one?)))
    };

    let (outage, stalled) = (worst(true), stall(true));
    let (elsewhere, elsewhere_stall) = (worst(false), stall(false));
    Moved { outage, stall: stalled, elsewhere, elsewhere_stall, ..moved }
}

/// Returns the time from the first lost flow to the first answered one after the last two that
/// were lost in a row; nothing was out if there are no such two; none if it lasts to the end.
fn outage(flows: &[Fresh]) -> Option<Duration> {
    let mut flows = flows.iter().collect::<Vec<_>>();
    flows.sort_by_key(|flow| flow.at);
    let lost = |flow: &Fresh| flow.answer.is_none();

    let rows = flows.windows(2).enumerate().filter(|(_, two)| two.iter().all(|flow| lost(flow)));
    let rows = rows.map(|(index, _)| index).collect::<Vec<_>>();
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return Some(Duration::ZERO);
    };
    let again = flows[last + 1..].iter().find(|flow| !lost(flow))?;
    Some(again.at.saturating_duration_since(flows[*first].at))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flows 100 ms apart: `.` answered, `x` lost.
    fn course(picture: &str) -> Vec<Fresh> {
        let began = Instant::now();
        let pair = Pair { from: "a".into(), to: "b".into() };
        let flow = |(index, fate): (usize, char)| Fresh {
            pair: pair.clone(),
            carrier: Carrier::Udp,
            at: began + Duration::from_millis(100) * u32::try_from(index).unwrap(),
            answer: (fate == '.').then_some(Duration::ZERO),
        };
        picture.chars().enumerate().map(flow).collect()
    }

    #[test]
    fn an_outage_lasts_from_the_first_two_lost_to_the_first_answered_after_the_last_two() {
        for (picture, outage) in [
            ("......", Some(0)),
            ("..x.x.", Some(0)),
            (".xx...", Some(200)),
            (".xx.xx.", Some(500)),
            (".xx..x.", Some(200)),
            ("..xxxx", None),
            ("", Some(0)),
        ] {
            let expected = outage.map(Duration::from_millis);
            assert_eq!(super::outage(&course(picture)), expected, "{picture}");
        }
    }
}
