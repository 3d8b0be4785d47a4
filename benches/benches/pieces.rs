//! Times the pieces of the event path.

use criterion::{Criterion, criterion_group, criterion_main};

fn pieces(criterion: &mut Criterion) {
    for (name, make) in towline_benches::pieces() {
        // What it opens it keeps, so it can be counted but not be run for as long as timing takes.
        if name == "silent" {
            continue;
        }
        let mut piece = make();
        criterion.bench_function(name, |bencher| bencher.iter(&mut piece));
    }
}

criterion_group!(benches, pieces);
criterion_main!(benches);
