//! A window against the simplest thing that could be right: plain queues of bytes.

use std::collections::VecDeque;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Sizes on both sides of what a buffer keeps.
fn size() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 1..200usize, 2 => 1..20_000usize, 1 => 60_000..300_000usize]
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Large(usize),
    Send(usize),
    /// The replies to so many of the oldest requests that were sent.
    Reply(usize),
    Take,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => size().prop_map(Step::Append),
        1 => (LARGE + 1..LARGE + 100).prop_map(Step::Large),
        3 => prop_oneof![size(), LARGE / 2..2 * LARGE].prop_map(Step::Send),
        4 => (0..4usize).prop_map(Step::Reply),
        1 => Just(Step::Take),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_window_is_a_queue_of_requests(steps in vec(step(), 0..80)) {
        let (mut window, mut requests, mut sent, mut fill) = (Window::default(), VecDeque::<Vec<u8>>::new(), 0, 0u8);
        for step in steps {
            match step {
                Step::Append(size) => {
                    fill = fill.wrapping_add(1);
                    window.sink().extend_from_slice(&vec![fill; size]);
                    requests.push_back(vec![fill; size]);
                }
                Step::Large(size) => {
                    fill = fill.wrapping_add(1);
                    window.push_whole(Arc::new(vec![fill; size]));
                    requests.push_back(vec![fill; size]);
                }
                Step::Send(size) => {
                    let n = size.min(window.unsent().len());
                    window.mark_sent(n);
                    sent += n;
                }
                Step::Reply(count) => {
                    for _ in 0..count {
                        if requests.front().is_some_and(|r| r.len() <= sent) {
                            let request = requests.pop_front().unwrap_or_default();
                            prop_assert_eq!(window.oldest(request.len()), &request[..]);
                            prop_assert_eq!(window.oldest_whole(request.len()).is_some(), request.len() > LARGE);
                            window.forget(request.len());
                            sent -= request.len();
                        }
                    }
                }
                Step::Take => {
                    let bytes = Vec::from(std::mem::take(&mut requests)).concat();
                    let runs = window.take();
                    let in_flight: usize = runs.iter().map(|run| run.sent - run.head).sum();
                    prop_assert_eq!(in_flight, std::mem::take(&mut sent));
                    prop_assert_eq!(runs.iter().map(Run::left).collect::<Vec<_>>().concat(), bytes);
                }
            }
            let bytes = requests.make_contiguous().concat();
            prop_assert_eq!((window.len(), window.in_flight()), (bytes.len(), sent));
            prop_assert!(bytes[sent..].starts_with(window.unsent()));
            prop_assert!(!window.unsent().is_empty() || bytes.len() == sent);
            prop_assert!(!window.older.is_empty() || bytes[sent..].len() == window.unsent().len());
        }
    }

    #[test]
    fn a_window_without_requests_holds_little(sizes in vec(size(), 1..20)) {
        let mut window = Window::default();
        for size in sizes {
            window.sink().extend_from_slice(&vec![0; size]);
            window.mark_sent(size);
            window.forget(size);
            prop_assert!(window.capacity() <= 4 * KEEP);
        }
    }
}
