// Measures redsync over go-redis, on the servers whose addresses are the arguments.
package main

import (
	"os"
	"time"

	"bench/rounds"

	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	goredislib "github.com/redis/go-redis/v9"
)

func main() {
	var pools []redis.Pool
	for _, address := range os.Args[1:] {
		pools = append(pools, goredis.NewPool(goredislib.NewClient(&goredislib.Options{Addr: address})))
	}
	locks := redsync.New(pools...)
	rounds.Serve([]string{"redsync", "go-redis"}, func(name string) error {
		mutex := locks.NewMutex(name, redsync.WithExpiry(8*time.Second))
		if err := mutex.Lock(); err != nil {
			return err
		}
		_, err := mutex.Unlock()
		return err
	})
}
