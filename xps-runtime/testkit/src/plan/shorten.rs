//! The shortest plan that still does it.

use super::{Move, Opening, Plan};

/// Leaves out moves and lies as long as `still` says that the plan does what it did. Asks at most `tries` times.
pub fn shorten(plan: &Plan, mut tries: usize, mut still: impl FnMut(&Plan) -> bool) -> Plan {
    let mut best = plan.clone();
    let mut again = true;
    while again {
        again = false;
        for shorter in shorter(&best) {
            if tries == 0 {
                return best;
            }
            tries -= 1;
            if still(&shorter) {
                best = shorter;
                again = true;
                break;
            }
        }
    }
    best
}

/// The plan without one of its moves, and without one of several lies.
fn shorter(plan: &Plan) -> Vec<Plan> {
    let mut plans = Vec::new();
    if plan.opening != Opening::Honest {
        plans.push(Plan { opening: Opening::Honest, ..plan.clone() });
    }
    for i in (0..plan.moves.len()).rev() {
        let mut without = plan.clone();
        without.moves.remove(i);
        plans.push(without);
        let Move::Segment { lies, .. } = &plan.moves[i] else { continue };
        for lie in (0..lies.len()).filter(|_| lies.len() > 1) {
            let mut without = plan.clone();
            if let Move::Segment { lies, .. } = &mut without.moves[i] {
                lies.remove(lie);
            }
            plans.push(without);
        }
    }
    plans
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lie::Lie;
    use crate::plan::{Focus, make};

    #[test]
    fn what_matters_is_left() {
        let plan = (0..).map(|number| make(1, number, Focus::AckFlag)).find(lies).expect("one of many");
        let short = shorten(&plan, 10_000, lies);
        assert_eq!(short.moves.len(), 1, "{short}");
    }

    fn lies(plan: &Plan) -> bool {
        plan.moves.iter().any(|step| matches!(step, Move::Segment { lies, .. } if lies.contains(&Lie::NoAck)))
    }
}
