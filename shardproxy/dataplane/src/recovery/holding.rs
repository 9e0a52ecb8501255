//! Clients that are held until a queue has room for their next request.

use crate::clients::{Client, Clients, Flow};
use crate::place::room;
use crate::turn::{Turn, Waiter};

/// Let as many go on as there is room for, in their order.
pub fn settle(turn: &mut Turn, clients: &mut Clients) {
    if turn.held.is_empty() {
        return;
    }
    let mut queues = turn.held.take();
    for queue in &mut queues {
        let mut left = room(turn, queue.link);
        while left > 0 {
            let Some(next) = queue.waiting.pop_front() else { break };
            if call(clients, &next) {
                left = left.saturating_sub(next.bytes);
            }
        }
    }
    turn.held.put_back(queues);
}

/// Who waits to be parked waits no longer than what is. And whoever has gone waits no more.
pub fn tick(turn: &mut Turn, clients: &mut Clients) {
    if turn.held.is_empty() {
        return;
    }
    let mut queues = turn.held.take();
    for queue in &mut queues {
        let lot = turn.links.get(queue.link).filter(|link| link.is_lot());
        let park = lot.and_then(|lot| turn.cluster(lot.way.cluster)).map(|cluster| cluster.spec.timeouts.park);
        queue.waiting.retain(|waiter| {
            let Some(client) = clients.tagged(waiter.ticket).filter(|client| is_held(client)) else { return false };
            let is_over = |limit| client.hold.as_deref().is_some_and(|hold| hold.has_lasted(turn.now, limit));
            let is_called = park.is_some_and(is_over);
            if is_called {
                call(clients, waiter);
            }
            !is_called
        });
    }
    turn.held.put_back(queues);
}

fn is_held(client: &Client) -> bool {
    client.flow == Flow::Held
}

/// Let a client go on, before all who wait; whether it still waited.
fn call(clients: &mut Clients, waiter: &Waiter) -> bool {
    let Some(client) = clients.tagged(waiter.ticket).filter(|client| is_held(client)) else { return false };
    client.flow = Flow::Open;
    client.is_called = true;
    clients.look_again(waiter.ticket.0);
    true
}
