//! Tables of arrivals and ends, and simulations of tenants that flood.

use super::*;
use crate::shape::Queuing;
use std::collections::{HashMap, VecDeque};

const QUEUING: Queuing = Queuing { queues: 16, hand_size: 4, queue_length_limit: 50 };

fn level(nominal: u32, lent: u32, most: u32) -> Limits {
    Limits { nominal, own: nominal - lent, most, queuing: Some(QUEUING) }
}

fn planner(levels: &[Limits]) -> Planner {
    let mut planner = Planner::default();
    assert!(planner.configure(levels, 0).is_empty());
    planner
}

/// How many of so many arrivals of one flow begin at once.
fn begin_at_once(planner: &mut Planner, level: usize, arrivals: u32) -> u32 {
    (0..arrivals).filter(|_| matches!(planner.arrive(level, 1, 1, 0), Verdict::Begins(_))).count() as u32
}

#[test]
fn a_level_borrows_what_others_lend_and_no_more() {
    // Levels, and how many requests of the first begin at once out of a hundred.
    let rows: [(&str, &[Limits], u32); 5] = [
        ("alone", &[level(5, 0, u32::MAX)], 5),
        ("nothing is lent", &[level(5, 0, u32::MAX), level(10, 0, u32::MAX)], 5),
        ("half is lent", &[level(5, 0, u32::MAX), level(10, 5, u32::MAX)], 10),
        ("what it lends itself is its own while nobody has it", &[level(5, 5, u32::MAX)], 5),
        ("borrowing is bounded", &[level(5, 0, 7), level(10, 5, u32::MAX)], 7),
    ];
    for (what, levels, begun) in rows {
        assert_eq!(begin_at_once(&mut planner(levels), 0, 100), begun, "{what}");
    }
}

#[test]
fn a_lender_gets_back_what_it_lent_with_the_next_that_end() {
    let mut planner = planner(&[level(4, 0, u32::MAX), level(4, 4, u32::MAX)]);
    assert_eq!(begin_at_once(&mut planner, 0, 20), 8, "own and lent; twelve wait");
    let Verdict::Waits(lender) = planner.arrive(1, 9, 1, 0) else { panic!("all of it is lent") };
    let begun = planner.end(0, queue_of(&planner, 0), 1, 1000, 0);
    assert_eq!(begun, [Begun { number: lender.number }], "before the twelve that wait with the borrower");
    let begun = planner.end(0, queue_of(&planner, 0), 1, 1000, 0);
    assert_eq!(begun.len(), 1, "then the borrower goes on");
    assert_ne!(begun[0].number, lender.number);
}

/// A queue of the level whose requests have seats.
fn queue_of(planner: &Planner, level: usize) -> usize {
    planner.levels[level].queues.all.iter().position(|queue| queue.seats > 0).expect("something runs")
}

#[test]
fn without_a_place_it_is_refused_and_why_is_said() {
    let refusing = Limits { queuing: None, ..level(2, 0, u32::MAX) };
    let mut refuses = planner(&[refusing]);
    assert_eq!(begin_at_once(&mut refuses, 0, 2), 2);
    assert_eq!(refuses.arrive(0, 1, 1, 0), Verdict::Refused(Refusal::ConcurrencyLimit));
    let mut queues = planner(&[level(2, 0, u32::MAX)]);
    assert_eq!(begin_at_once(&mut queues, 0, 2), 2);
    let waiting = (0..1000).filter(|_| matches!(queues.arrive(0, 1, 1, 0), Verdict::Waits(_))).count();
    assert_eq!(waiting, QUEUING.hand_size * QUEUING.queue_length_limit, "the hand of one flow");
    assert_eq!(queues.arrive(0, 1, 1, 0), Verdict::Refused(Refusal::QueueFull));
}

#[test]
fn who_leaves_makes_room_and_who_has_begun_cannot_leave() {
    let mut planner = planner(&[level(2, 0, u32::MAX)]);
    let Verdict::Begins(queue) = planner.arrive(0, 1, 1, 0) else { panic!("there are two seats") };
    let Verdict::Waits(wide) = planner.arrive(0, 2, 2, 0) else { panic!("one seat is left") };
    let Verdict::Waits(narrow) = planner.arrive(0, 3, 1, 0) else { panic!("none goes before who waits") };
    assert_eq!(planner.leave(wide, 0), Some(vec![Begun { number: narrow.number }]));
    assert_eq!((planner.leave(narrow, 0), planner.leave(wide, 0)), (None, None));
    assert_eq!(planner.end(0, queue, 1, 10, 0), []);
}

#[test]
fn a_request_wider_than_the_level_is_as_wide_as_the_level() {
    let mut planner = planner(&[level(3, 0, u32::MAX)]);
    assert!(matches!(planner.arrive(0, 1, 10, 0), Verdict::Begins(_)));
    assert_eq!(planner.levels[0].seats, 3);
    assert!(matches!(planner.arrive(0, 1, 1, 0), Verdict::Waits(_)));
}

#[test]
fn other_limits_hold_from_the_next_decision_on() {
    let mut planner = planner(&[level(2, 0, u32::MAX)]);
    let Verdict::Begins(queue) = planner.arrive(0, 1, 1, 0) else { panic!("there is a seat") };
    begin_at_once(&mut planner, 0, 5);
    assert_eq!(planner.configure(&[level(4, 0, u32::MAX), level(1, 0, u32::MAX)], 0).len(), 2);
    assert!(planner.configure(&[level(1, 0, u32::MAX), level(1, 0, u32::MAX)], 0).is_empty());
    assert_eq!(planner.end(0, queue, 1, 10, 0), [], "three still run where one may");
}

/// Time goes by in steps of a millisecond; each flow keeps so many requests under way, each so wide and so long.
struct Tenant {
    flow: u64,
    under_way: usize,
    width: u32,
    length_ms: u64,
}

/// Seat-milliseconds that each tenant has had after a while.
fn simulate(limits: Limits, tenants: &[Tenant], steps: u64) -> Vec<u64> {
    let mut planner = planner(&[limits]);
    let mut running: Vec<(u64, usize, usize, u32)> = Vec::new();
    let mut waiting: HashMap<u64, (usize, Ticket)> = HashMap::new();
    let (mut served, mut open) = (vec![0; tenants.len()], vec![0; tenants.len()]);
    for now in 0..steps {
        let mut begun = VecDeque::new();
        let ended: Vec<_> = running.iter().filter(|(end, ..)| *end == now).copied().collect();
        running.retain(|(end, ..)| *end != now);
        for (_, tenant, queue, width) in ended {
            open[tenant] -= 1;
            begun.extend(planner.end(0, queue, width, tenants[tenant].length_ms * 1000, now * 1000));
        }
        for begun in begun {
            let (tenant, ticket) = waiting.remove(&begun.number).expect("it waited");
            let Tenant { length_ms, width, .. } = tenants[tenant];
            running.push((now + length_ms, tenant, ticket.queue, width));
            served[tenant] += u64::from(width) * length_ms;
        }
        for (at, tenant) in tenants.iter().enumerate() {
            while open[at] < tenant.under_way {
                match planner.arrive(0, tenant.flow, tenant.width, now * 1000) {
                    Verdict::Begins(queue) => {
                        running.push((now + tenant.length_ms, at, queue, tenant.width));
                        served[at] += u64::from(tenant.width) * tenant.length_ms;
                    }
                    Verdict::Waits(ticket) => drop(waiting.insert(ticket.number, (at, ticket))),
                    Verdict::Refused(_) => break,
                }
                open[at] += 1;
            }
        }
        let seats: u32 = running.iter().map(|(.., width)| width).sum();
        assert!(seats <= limits.nominal && seats == planner.levels[0].seats, "{seats} seats at {now}");
    }
    served
}

#[test]
fn flows_under_overload_get_the_same_whatever_they_send() {
    let flow = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let tenant = |n, under_way, width, length_ms| Tenant { flow: flow(n), under_way, width, length_ms };
    // Many, few, wide, long.
    let tenants = [tenant(1, 100, 1, 5), tenant(2, 10, 1, 5), tenant(3, 20, 4, 5), tenant(4, 20, 1, 25)];
    let served = simulate(level(8, 0, u32::MAX), &tenants, 20_000);
    let whole: u64 = served.iter().sum();
    assert!(whole > 8 * 20_000 * 8 / 10, "seats are not left empty: {served:?}");
    // One that floods fills its whole hand of queues, of which it may have as many shares.
    let mean = (whole - served[0]) / 3;
    assert!(served[1..].iter().all(|got| got.abs_diff(mean) < mean / 3), "{served:?}");
    assert!(served[0] < mean * (QUEUING.hand_size as u64 + 1), "{served:?}");
}

#[test]
fn who_asks_little_is_next_beside_one_that_floods() {
    const STEPS: u64 = 10_000;
    let modest = Tenant { flow: 5, under_way: 1, width: 1, length_ms: 2 };
    let flood = Tenant { flow: 3, under_way: 200, width: 1, length_ms: 10 };
    let [own, of_flood] = [modest.length_ms, flood.length_ms];
    let served = simulate(level(10, 0, u32::MAX), &[flood, modest], STEPS)[1];
    // All of the flood's requests run at once: each of the modest one's waits for those to end, and for no others.
    assert!(served / own >= STEPS / (of_flood + own), "{served}");
}
