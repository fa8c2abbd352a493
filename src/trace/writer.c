#include "trace/internal.h"
