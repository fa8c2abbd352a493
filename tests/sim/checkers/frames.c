/* SPDX-License-Identifier: MIT */
#include "frames.h"

uint64_t frames_free(struct sim *s)
{
	struct engine *e = sim_engine(s);
	uint64_t nr = 0;

	for (unsigned n = 0; n < e->nr_nodes; n++)
		for (unsigned z = 0; z < e->nodes[n].nr_zones; z++)
			nr += (uint64_t)e->nodes[n].zones[z].free_pages;
	return nr;
}

uint64_t frames_expected(const struct sim_config *cfg)
{
	struct sim_config c = *cfg;
	struct sim *s;
	uint64_t nr = 0;

	/* a calm machine: nothing goes wrong */
	c.rates = (struct sim_rates){0};
	c.preempt_ppm = c.stall_ppm = c.spurious_ppm = 0;
	c.event = NULL;
	s = sim_create(&c);
	if (s && !sim_boot(s) && !sim_shutdown(s))
		nr = frames_free(s);
	sim_destroy(s);
	return nr;
}

bool frames_in_budget(struct sim *s)
{
	return sim_resident(s) <= sim_engine(s)->nr_frames;
}
