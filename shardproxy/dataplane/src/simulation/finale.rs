//! The end of every run: all is well again, so all that is owed must come; then all clients go, and little may be left.

use std::time::Duration;

use super::world::World;

/// More than any request may wait: parked, then sent and lost, then blocked with a timeout.
const ROUNDS: usize = 1200;
const ROUND: Duration = Duration::from_millis(110);
/// Bytes a connection may keep for what comes next.
const KEPT: usize = 300 * 1024;

pub fn play(world: &mut World) {
    heal(world);
    wait_for_quiet(world);
    for reason in world.spec.impossible() {
        assert_eq!(world.rig.closed(reason), 0, "clients were closed for no reason: {reason:?}");
    }
    leave(world);
}

fn heal(world: &mut World) {
    for number in 0..world.nodes.len() {
        world.open(number, true);
        world.nodes[number].is_diligent = true;
    }
    world.clients.iter_mut().for_each(|client| client.is_reading = true);
    world.spec.heal();
    world.apply();
}

fn wait_for_quiet(world: &mut World) {
    let (mut round, mut received) = (0, 0);
    while round < ROUNDS {
        let before = std::mem::replace(&mut received, world.clients.iter().map(|client| client.received).sum());
        round += usize::from(received <= before); // who still reads waits for nothing
        world.clients.iter_mut().for_each(|client| client.send(usize::MAX));
        world.turn();
        serve(world, round);
        let is_quiet = world.rig.is_at_rest()
            && world.clients.iter().all(super::client::Client::is_quiet)
            && !world.has_offloads();
        if is_quiet && round > 3 && !world.rig.is_busy() {
            return;
        }
        if round >= ROUNDS / 2 {
            // who watches holds a connection that others may wait for, and so may they then
            world.clients.iter_mut().filter(|client| client.is_quiet()).for_each(super::client::Client::close);
        }
        world.rig.pass(if round % 4 == 3 { ROUND } else { Duration::ZERO });
    }
    panic!("somebody waits for ever\n{}", world.describe());
}

/// Whoever waits for nodes or the control plane gets what it waits for.
fn serve(world: &mut World, round: usize) {
    world.answer_offloads();
    for node in &mut world.nodes {
        for connection in &mut node.connections {
            connection.unblock(round % 2, &mut world.ledger);
            connection.send(usize::MAX);
        }
    }
}

fn leave(world: &mut World) {
    if world.is_drained {
        world.rig.drain();
    } else {
        world.clients.iter_mut().for_each(super::client::Client::close);
        world.monitor = None;
    }
    for round in 0..ROUNDS {
        world.turn();
        serve(world, round);
        world.rig.pass(if round % 4 == 3 { ROUND } else { Duration::ZERO });
        if round > 8 && world.rig.client_count() == 0 && world.rig.sums().pending == 0 {
            break;
        }
    }
    assert_eq!(world.rig.blocked(), 0, "clients that have gone count as blocked");
    assert_eq!(world.rig.client_count(), 0, "clients that have gone are still there\n{}", world.describe());
    // every tick counts anew; what it ends itself the next one counts
    let mut sums = world.rig.sums();
    for tick in 0..6 {
        if tick > 1 && sums.is_exact() {
            break;
        }
        world.rig.pass(ROUND);
        world.turn();
        sums = world.rig.sums();
    }
    assert!(sums.is_exact(), "buffers are not what they are accounted with: {sums:?}\n{}", world.describe());
    assert!(sums.held <= (sums.links + 1) * KEPT, "{sums:?} with no client left\n{}", world.describe());
}
